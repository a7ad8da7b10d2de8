"""Which `Host` an HTTP request may have."""

import socket
from pathlib import Path

import pytest

from onionmx.serve.http.host import is_for_this_machine, names_of_this_machine


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:10030", "[::1]:10030", "mx1", socket.gethostname()])
def test_own_names(host: str) -> None:
    assert is_for_this_machine(host)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:10030", f"{socket.gethostname()}.evil.example", "a:b:c"]
)
def test_names_of_strangers(host: str) -> None:
    assert not is_for_this_machine(host)


def test_long_name_in_etc_hosts(tmp_path: Path) -> None:
    own = socket.gethostname().lower()
    hosts = tmp_path / "hosts"
    hosts.write_text(
        f"127.0.0.1 localhost\n127.0.1.1 {own}.example.org {own}  # evil.example\n192.0.2.1 other.example\n"
    )
    assert names_of_this_machine(hosts) == {own, f"{own}.example.org"}
    assert names_of_this_machine(tmp_path / "none") == {own}
