"""An Exim that keeps the rights of root, as an installed one does, and what it runs with them."""

import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from onionmx.defaults import USER
from onionmx.privileges import NOBODY
from tests.mapfile.maps import A, make_map
from tests.net.stranger import root_only
from tests.tor.test_automap import virtual

from .conftest import skip_without
from .daemon import free_ports
from .exim import COMMAND_TIMEOUT, Exim
from .rights import command_of, excess, processes, status_of, users
from .test_exim import HELPER

MAPPED = "alice@mapped.example"
ADDRESS = "127.192.0.1"
OWN = 54321
"""A number that no user of this machine has."""
MESSAGE = f"To: <{MAPPED}>\nSubject: a test\n\nHello\n"
SUBMIT = ("-odq", "-f", "carol@sender.example", MAPPED)
RUNS = {"route test": ("-bt", MAPPED), "queue run": ("-qff",)}

pytestmark = root_only


@pytest.fixture
def dnsport() -> Iterator[socket.socket]:
    """Be tor's DNSPort, which answers when the test says so."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", free_ports(1)[0]))
        udp.settimeout(COMMAND_TIMEOUT)
        yield udp


def make_exim(folder: Path, dnsport: socket.socket, wrap: Sequence[str] = ()) -> Exim:
    skip_without("exim4")
    make_map(folder / "map.cdb", {"mapped.example": ((A, 25),)})
    macros = {
        "ONIONMX_HELPER": str(HELPER),
        "ONIONMX_MAP": str(folder / "map.cdb"),
        "ONIONMX_DNSPORT": "{}:{}".format(*dnsport.getsockname()),
        "ONIONMX_TIMEOUT": "5",
        "ONIONMX_SOCKS": "127.0.0.1 port=1",
    }
    return Exim(folder / "exim", "sender.example", macros, wrap=wrap, is_root=True)


@contextmanager
def running(exim: Exim, *arguments: str) -> Iterator[None]:
    """Run it with these arguments, a message being in its queue."""
    subprocess.run(exim.command(*SUBMIT), input=MESSAGE, text=True, check=True, capture_output=True)
    with subprocess.Popen(exim.command(*arguments), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        yield
        assert process.wait(COMMAND_TIMEOUT) == 0


def asker(dnsport: socket.socket) -> tuple[int, int, bytes, tuple[str, int]]:
    """Wait for a question; return the number of the process, the user whose socket it came from, itself and whence."""
    question, source = dnsport.recvfrom(512)
    [pid] = [pid for pid in processes() if len(words := command_of(pid)) > 1 and words[1] == str(HELPER)]
    local = f"0100007F:{source[1]:04X}"
    rows = (row.split() for row in Path("/proc/net/udp").read_text().splitlines())
    [owner] = [int(row[7]) for row in rows if row[1] == local]
    return pid, owner, question, source


@pytest.mark.parametrize("arguments", RUNS.values(), ids=list(RUNS))
@pytest.mark.parametrize("is_there", [True, False], ids=["user is there", "no such user"])
def test_what_root_runs_asks_tor_as_another_user(
    tmp_path: Path, dnsport: socket.socket, arguments: Sequence[str], *, is_there: bool
) -> None:
    others = "".join(f"{line}\n" for line in Path("/etc/passwd").read_text().splitlines() if f"{USER}:" not in line)
    known = others + (f"{USER}:x:{OWN}:{OWN}::/:/usr/sbin/nologin\n" if is_there else "")
    with users(known) as wrap, running(make_exim(tmp_path, dnsport, wrap), *arguments):
        pid, owner, question, source = asker(dnsport)
        status = status_of(pid)
        parent = status_of(int(status["PPid"]))
        dnsport.sendto(virtual(question, ADDRESS), source)
    expected = OWN if is_there else NOBODY
    assert parent["Uid"].split() == ["0"] * 4  # Exim itself
    assert status["Uid"].split() == [str(expected)] * 4
    assert status["Gid"].split() == [str(expected)] * 4
    assert status["Groups"] == ""
    assert excess(status) == []
    assert owner == expected


def test_map_that_root_alone_may_read_defers_and_says_why(tmp_path: Path, dnsport: socket.socket) -> None:
    exim = make_exim(tmp_path, dnsport)
    (tmp_path / "map.cdb").chmod(0o600)
    said = exim.route_test(MAPPED)
    assert "cannot be resolved at this time: onionmx: cannot tell the route to mapped.example: exit code 75:" in said
    assert f"map {tmp_path}/map.cdb cannot be read: Permission denied for user" in said
