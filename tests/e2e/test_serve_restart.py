"""A restart of the lookup daemon while Postfix asks: the sockets outlive it, and no lookup fails."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.mapfile.maps import A

from .conftest import skip_without
from .daemon import Daemon
from .postfix import Postfix
from .programs import PROJECT, UNPACKED, find_program
from .relay import LOOPBACK
from .serve_site import Serve

MAPPED = "mapped.example"
CLIENTS = 200
LOOKUPS = 500
"""Of each client."""
RESTARTS = 3
PATIENCE = 120.0


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    serve = Serve(tmp_path / "serve")
    serve.publish({MAPPED: A})
    return serve


@pytest.fixture
def manager(serve: Serve) -> Iterator[Daemon]:
    ports = {"socketmap": serve.socketmap, "tcp-table": serve.tcp_table}
    sockets = [f"{name}={port}" for name, (_, port) in ports.items()]
    command = [sys.executable, "-m", "tests.e2e.service_manager", *sockets, "--", *serve.command]
    with Daemon("manager", command, serve.folder, {"PYTHONPATH": str(PROJECT)}) as manager:
        manager.wait_for_log("lookups ready")
        yield manager


def test_no_lookup_of_postfix_fails(serve: Serve, manager: Daemon, tmp_path: Path) -> None:
    skip_without("postmap")
    # Nothing of it runs; postmap(1) reads its configuration.
    configuration = Postfix(tmp_path / "postfix", "sender.example").configuration
    tables = (f"socketmap:inet:{LOOPBACK}:{serve.socketmap[1]}:onionmx", f"tcp:{LOOPBACK}:{serve.tcp_table[1]}")
    environment = dict(os.environ) | {"LD_LIBRARY_PATH": str(UNPACKED / "usr/lib/postfix")}
    keys = "".join(f"user{number}@{MAPPED}\n" for number in range(LOOKUPS))
    (tmp_path / "keys").write_text(keys)
    expected = "".join(f"{key}\tonion:inet:127.0.0.1:10026\n" for key in keys.splitlines())
    with ExitStack() as running:
        outputs = [running.enter_context((tmp_path / f"output{number}").open("w+")) for number in range(CLIENTS)]
        clients = []
        for number, output in enumerate(outputs):
            command: list[str | Path] = [
                find_program("postmap"),
                "-c",
                configuration,
                "-q",
                "-",
                tables[number % len(tables)],
            ]
            questions = running.enter_context((tmp_path / "keys").open())
            # It warns of each connection that it has to open again.
            client = subprocess.Popen(
                command, stdin=questions, stdout=output, stderr=subprocess.DEVNULL, env=environment
            )
            clients.append(client)
            running.callback(client.wait)
            running.callback(client.kill)
        for restart in range(RESTARTS):
            manager.wait_until(lambda: answered(serve) > CLIENTS, "lookups of this run of the daemon")
            assert any(client.poll() is None for client in clients), "all was over before the restart"
            manager.signal(signal.SIGHUP)
            manager.wait_for_log(rf"(?s)(lookups ready.*){{{restart + 2}}}")
        assert [client.wait(PATIENCE) for client in clients] == [0] * CLIENTS
        for output in outputs:
            output.seek(0)
            assert output.read() == expected


def answered(serve: Serve) -> float:
    """Lookups that this run of the daemon has answered; 0 while it does not say."""
    try:
        samples = serve.metrics()
    except OSError:
        return 0
    return sum(value for name, value in samples.items() if name.startswith("onionmx_lookup_requests_total"))
