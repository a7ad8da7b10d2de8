"""Live lookups against who forges DNS: `onionmx serve`, Knot DNS and Unbound, with restarts in between."""

import json
import os
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.mapfile.maps import A, B

from .name_servers import NameServers, Zone
from .relay import ONIONMX
from .serve_site import Serve

UNSIGNED, SIGNED = "unsigned.test", "signed.test"


def record(onion: str) -> str:
    return f"_onion-mx._tcp 1 SRV 0 5 25 {onion}."


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[NameServers]:
    zones = {UNSIGNED: Zone(record(A)), SIGNED: Zone(record(A), signed=True)}
    with NameServers(zones, tmp_path) as servers:
        yield servers


@pytest.fixture
def serve(tmp_path: Path, servers: NameServers) -> Serve:
    # No policy can be asked here, but what is asked for them is answered: there are none.
    return Serve(tmp_path / "serve", servers.resolver, ("[authenticate]", 'mode = "off"'))


@contextmanager
def restarted(serve: Serve) -> Iterator[None]:
    """Start it without its cache: what it knows then is what it remembers."""
    (serve.folder / "cache").unlink(missing_ok=True)
    with serve:
        yield


def route(serve: Serve, domain: str) -> Any:  # noqa: ANN401 -- JSON
    with urllib.request.urlopen(f"http://{serve.http[0]}:{serve.http[1]}/routes/{domain}") as response:
        return json.load(response)


def onions(serve: Serve, domain: str) -> list[str]:
    return [target["onion"] for target in route(serve, domain)["targets"]]


def onionmx(serve: Serve, *words: str) -> str:
    command = [str(ONIONMX), *words]
    environment = dict(os.environ) | {"ONIONMX_CONFIG": str(serve.configuration)}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout


def test_a_forged_change_waits_over_a_restart(serve: Serve, servers: NameServers) -> None:
    with restarted(serve):
        assert onions(serve, UNSIGNED) == onions(serve, SIGNED) == [A]
    for domain in (UNSIGNED, SIGNED):
        servers.change_zone(domain, Zone(record(B), signed=domain == SIGNED))
    with restarted(serve):
        assert onions(serve, UNSIGNED) == [A]
        assert onions(serve, SIGNED) == [B], "a signed change counts at once"
        told = onionmx(serve, "explain", UNSIGNED)
        for words in ("live lookups, which ask where the map has no entry", f"route       {A}", f"waiting     {B}"):
            assert words in told, words
        pending = onionmx(serve, "sync", "--pending")
        assert f"{UNSIGNED} (live lookups, {serve.folder}/live.sqlite): {A} -> {B}" in pending
        assert A in onionmx(serve, "lookup", UNSIGNED)
    servers.change_zone(UNSIGNED, Zone(""))
    with restarted(serve):
        assert onions(serve, UNSIGNED) == [A], "a denial waits too"


def test_the_word_of_the_operator(serve: Serve, servers: NameServers) -> None:
    with restarted(serve):
        assert onions(serve, UNSIGNED) == [A]
    servers.change_zone(UNSIGNED, Zone(record(B)))
    with restarted(serve):
        assert onions(serve, UNSIGNED) == [A]
        onionmx(serve, "sync", "--refuse-change", UNSIGNED)
        assert "refused by the operator" in onionmx(serve, "explain", UNSIGNED)
    with restarted(serve):
        assert onions(serve, UNSIGNED) == [A]
        onionmx(serve, "sync", "--accept-change", UNSIGNED)
        onionmx(serve, "cache", "purge", UNSIGNED)
        assert onions(serve, UNSIGNED) == [B]
