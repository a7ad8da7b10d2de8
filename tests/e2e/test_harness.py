"""The networks that the other end-to-end tests rely on do what those tests rely on."""

import ipaddress
import os
import signal
import socket
import socketserver
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import pytest

from tests.onions import V3_ONION, make_onion

from .conftest import StartNameServers
from .daemon import Daemon, DaemonError, free_ports, wait_until
from .name_servers import NameServers, Query, Zone
from .programs import PROJECT, MissingProgramError, find_program
from .socks import Address, SocksError, socks_connect
from .tcp_server import tcp_server
from .tor_network import TorNetwork

SRV = "_onion-mx._tcp"
ZONES = {
    "example.test": Zone(f"{SRV} SRV 0 5 25 {V3_ONION}.", signed=True),
    "unsigned.test": Zone(f"{SRV} SRV 0 5 25 {V3_ONION}.\nalias CNAME {SRV}"),
    "bogus.test": Zone(f"{SRV} SRV 0 5 25 {V3_ONION}.", bogus=True),
    "none.test": Zone(f"{SRV} SRV 0 0 0 ."),
}
DNS_TIMEOUT = 10.0

NO_DESCRIPTOR = 0xF0
BAD_ADDRESS = 0xF6


class Echo(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line)


@pytest.fixture(scope="module")
def echo_server() -> Iterator[Address]:
    with tcp_server(Echo) as address:
        yield address


@pytest.fixture(scope="module")
def onion(tor_network: TorNetwork, echo_server: Address) -> str:
    return tor_network.add_onion_service({25: echo_server, 2525: echo_server})


@pytest.fixture(scope="module")
def servers(name_servers: StartNameServers) -> NameServers:
    return name_servers(ZONES)


def test_server_ends_with_the_connections_that_are_open() -> None:
    with ExitStack() as stack:
        with tcp_server(Echo) as address:
            connection = stack.enter_context(socket.create_connection(address))
            connection.sendall(b"hello\r\n")
            assert connection.recv(7) == b"hello\r\n"
        assert connection.recv(1) == b""


def assert_echo(network: TorNetwork, host: str, port: int = 25) -> None:
    with socks_connect(network.client.socks, host, port) as connection, connection.makefile("rwb") as stream:
        stream.write(b"hello\r\n")
        stream.flush()
        assert stream.readline() == b"hello\r\n"


def ask(server: Address, name: str, rdtype: str) -> dns.message.Message:
    question = dns.message.make_query(name, rdtype, use_edns=True, want_dnssec=True)
    return dns.query.udp(question, server[0], DNS_TIMEOUT, port=server[1])


def ask_srv(servers: NameServers, domain: str) -> dns.message.Message:
    return ask(servers.resolver, f"{SRV}.{domain}", "SRV")


def is_gone(pid: int) -> bool:
    """Tell whether a process has ended; an orphan may stay as a zombie where no init collects it."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return "State:\tZ" in status


class TestTorNetwork:
    @pytest.mark.parametrize("port", [25, 2525])
    def test_onion_service_reaches_its_server(self, tor_network: TorNetwork, onion: str, port: int) -> None:
        assert_echo(tor_network, onion, port)

    def test_dnsport_gives_a_virtual_address_that_socks_accepts(self, tor_network: TorNetwork, onion: str) -> None:
        reply = ask(tor_network.client.dnsport, onion, "A")
        address = reply.answer[0][0].to_text()
        assert ipaddress.ip_address(address) in ipaddress.ip_network("127.192.0.0/10")
        assert_echo(tor_network, address)

    @pytest.mark.parametrize(
        ("name", "reply"), [(V3_ONION, NO_DESCRIPTOR), (make_onion("", spoil_checksum=True), BAD_ADDRESS)]
    )
    def test_socks_reply_names_the_cause(self, tor_network: TorNetwork, name: str, reply: int) -> None:
        with pytest.raises(SocksError) as refused:
            socks_connect(tor_network.client.socks, name, 25)
        assert refused.value.reply == reply

    def test_socks_carries_nothing_but_onions(self, tor_network: TorNetwork, echo_server: Address) -> None:
        with pytest.raises(SocksError):
            socks_connect(tor_network.client.socks, *echo_server)

    def test_client_comes_back_on_the_same_ports(self, tor_network: TorNetwork, onion: str) -> None:
        tor_network.client.stop()
        try:
            with pytest.raises(SocksError) as refused:
                socks_connect(tor_network.client.socks, onion, 25)
            assert refused.value.reply is None
        finally:
            tor_network.client.start()
        tor_network.client.wait_until_reachable(onion)
        assert_echo(tor_network, onion)


class TestNameServers:
    def test_signed_answer_is_authentic(self, servers: NameServers) -> None:
        reply = ask_srv(servers, "example.test")
        assert reply.flags & dns.flags.AD
        assert V3_ONION in reply.answer[0].to_text()

    def test_unsigned_answer_is_not(self, servers: NameServers) -> None:
        reply = ask_srv(servers, "unsigned.test")
        assert reply.rcode() == dns.rcode.NOERROR
        assert not reply.flags & dns.flags.AD
        assert reply.answer

    @pytest.mark.parametrize(
        ("domain", "rcode"),
        [
            ("bogus.test", dns.rcode.SERVFAIL),
            ("none.test", dns.rcode.NOERROR),
            ("no-such.example.test", dns.rcode.NXDOMAIN),
            ("outside.invalid", dns.rcode.NXDOMAIN),
            ("example.onion", dns.rcode.NXDOMAIN),
        ],
    )
    def test_rcode(self, servers: NameServers, domain: str, rcode: dns.rcode.Rcode) -> None:
        assert ask_srv(servers, domain).rcode() == rcode

    def test_every_question_is_recorded(self, servers: NameServers) -> None:
        before = len(servers.queries())
        ask(servers.resolver, "Alias.unsigned.test", "SRV")
        assert servers.queries()[before:] == [Query("alias.unsigned.test", "SRV")]

    @pytest.mark.parametrize("domain", ["example.test", "unsigned.test"])
    def test_zone_changes_at_once(self, servers: NameServers, domain: str) -> None:
        ask_srv(servers, domain)
        old = servers.zones[domain]
        servers.change_zone(domain, Zone(f"{SRV} SRV 0 5 2525 {V3_ONION}.", signed=old.signed))
        assert "2525" in ask_srv(servers, domain).answer[0].to_text()
        servers.change_zone(domain, old)
        assert "2525" not in ask_srv(servers, domain).answer[0].to_text()

    def test_resolver_without_authority_answers_servfail(self, servers: NameServers) -> None:
        servers.flush("unsigned.test")
        servers.stop_authority()
        try:
            assert ask_srv(servers, "unsigned.test").rcode() == dns.rcode.SERVFAIL
        finally:
            servers.start_authority()
        assert ask_srv(servers, "unsigned.test").rcode() == dns.rcode.NOERROR

    def test_nothing_is_left(self, servers: NameServers) -> None:
        assert servers.folder.exists()
        with NameServers({"example.test": ZONES["example.test"]}) as own:
            pids = [own.knot.pid, own.unbound.pid]
        assert all(is_gone(pid) for pid in pids)
        assert not own.folder.exists()


class TestDaemon:
    def test_dies_with_a_killed_parent(self, tmp_path: Path) -> None:
        program = (
            "import sys, pathlib; from tests.e2e.daemon import Daemon\n"
            "daemon = Daemon('sleep', ['sleep', '600'], pathlib.Path(sys.argv[1])).start()\n"
            "print(daemon.pid, flush=True); sys.stdin.read()\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", program, tmp_path],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as parent:
            assert parent.stdout is not None
            pid = int(parent.stdout.readline())
            # Only then has setpriv tied it to its parent.
            wait_until(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n", "the daemon behind setpriv")
            os.kill(parent.pid, signal.SIGKILL)
        wait_until(lambda: is_gone(pid), "the end of the daemon")

    def test_stop_takes_its_children_along(self, tmp_path: Path) -> None:
        script = "trap '' TERM; sleep 600 & echo child $!; wait; sleep 600"
        with Daemon("stubborn", ["sh", "-c", script], tmp_path) as daemon:
            child = int(daemon.wait_for_log(r"child (\d+)")[1])
            daemon.stop(timeout=0.1)
        wait_until(lambda: is_gone(child), "the end of the child")

    def test_error_shows_the_log(self, tmp_path: Path) -> None:
        with (
            Daemon("broken", ["sh", "-c", "echo cannot do it"], tmp_path) as daemon,
            pytest.raises(DaemonError, match=r"ended before(?s:.*)cannot do it"),
        ):
            daemon.wait_for_log("ready")

    def test_ports_are_distinct(self) -> None:
        ports = free_ports(20)
        assert len(set(ports)) == 20

    def test_missing_program_names_the_remedy(self) -> None:
        with pytest.raises(MissingProgramError, match=r"no-such-program.*make setup"):
            find_program("no-such-program")


def test_ports_are_in_a_row_and_of_one_process_alone() -> None:
    script = """
import sys
from tests.e2e.daemon import free_ports
print(*(port for _ in range(50) for port in free_ports(4)), flush=True)
sys.stdin.read()  # the ports are of this process until it ends
"""
    with ExitStack() as processes:
        others = [
            processes.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", script],
                    cwd=PROJECT,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(3)
        ]
        given = [[int(port) for port in other.stdout.readline().split()] for other in others if other.stdout]
        ours = [free_ports(4) for _ in range(50)]
    every = [port for ports in (*given, *ours) for port in ports]
    assert len(every) == len(set(every)) == 4 * 50 * 4
    assert all(ports == list(range(ports[0], ports[0] + 4)) for ports in ours)
