"""Receiving from an onion service, with Postfix as docs/receiving.md has it, and with Exim's fragments."""

import ipaddress
import os
import re
import smtplib
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

import pytest
from stem.control import EventType

from .conftest import skip_without
from .daemon import START_TIMEOUT
from .exim import DELIVERY_TIMEOUT, LOCAL_SENDERS, Exim
from .onion_smtp import OnionSession
from .postfix import DOCUMENT, ONION_MX, Postfix, documented, section
from .programs import PROJECT, UNPACKED, find_program
from .receiving import CIRCUITS, DOMAIN, RIGHT, WRONG, Receiver, postfix_receiver, receiver
from .socks import Address
from .tor_network import TorNetwork
from .tor_node import OnionServiceHost

if TYPE_CHECKING:
    from stem.response.events import HSDescEvent

pytestmark = pytest.mark.skipif(bool(os.geteuid()), reason="Postfix's master runs as root only")

CIRCUIT = "fc00:dead:beef:4dad::12:3456"
OTHER_CIRCUIT = "fc00:dead:beef:4dad::12:3457"
MESSAGE = b"Subject: no date, no message id\r\nTo: alice\r\n\r\nHello\r\n.dot\r\n"
REFUSED = range(500, 600)
MX_MACHINE = "127.0.0.3"
TOR_MACHINE = "127.0.0.4"
"""Two machines of a private network; all of 127.0.0.0/8 is this one's."""


class Session(smtplib.SMTP):
    """An SMTP session that begins as tor begins it."""

    def __init__(self, address: Address, circuit: str = "", source: str = LOCAL_SENDERS) -> None:
        """Connect, give the PROXY line of the circuit if there is one, read the greeting, and say EHLO."""
        self._opening = f"PROXY TCP6 {circuit} ::1 13398 25\r\n".encode() if circuit else b""
        super().__init__(*address, "client.example", timeout=DELIVERY_TIMEOUT, source_address=(source, 0))
        self.ehlo()

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        connected = socket.create_connection((host, port), timeout, self.source_address)
        connected.sendall(self._opening)
        return connected


def connect(mta: Receiver) -> Session:
    return Session(mta.forward, CIRCUIT if mta.proxy_protocol else "")


@pytest.fixture(scope="module", params=[*RIGHT, *CIRCUITS])
def right(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    skip_without("exim4", "postqueue", "setpriv")
    with receiver(request.param, tmp_path_factory.mktemp("receiver") / "mta") as running:
        yield running


SENDERS = ["", f"alice@{DOMAIN}", "mallory@elsewhere.example", "root@localhost"]
FOREIGN = [
    "victim@elsewhere.example",
    f"@{DOMAIN}:victim@elsewhere.example",
    f"@{DOMAIN},@localhost:victim@elsewhere.example",
    f"victim%elsewhere.example@{DOMAIN}",
    f'"victim%elsewhere.example"@{DOMAIN}',
    f'"victim@elsewhere.example"@{DOMAIN}',
    f"elsewhere.example!victim@{DOMAIN}",
    "victim@localhost",
    "victim@[203.0.113.1]",
    "victim@[127.0.0.1]",
    "victim%elsewhere.example",
    "elsewhere.example!victim",
    "victim",
]


@pytest.mark.parametrize("sender", SENDERS)
def test_onion_clients_cannot_relay(right: Receiver, sender: str) -> None:
    taken = []
    # A session for each: Postfix slows down after ten errors.
    for recipient in FOREIGN:
        with connect(right) as session:
            assert session.mail(sender)[0] == 250
            if session.docmd("RCPT", f"TO:<{recipient}>")[0] not in REFUSED:
                taken.append(recipient)
    assert taken == []


def test_onion_clients_deliver_to_local_users_and_nothing_is_added(right: Receiver) -> None:
    before = len(right.mta.delivered())
    with connect(right) as session:
        session.sendmail("carol@elsewhere.example", f"alice@{DOMAIN}", MESSAGE)
        session.mail("carol@elsewhere.example")
        assert session.rcpt(f"nobody@{DOMAIN}")[0] == 550
    stored = right.mta.wait_for_delivered(before + 1)[-1].replace(b"\r\n", b"\n")
    assert stored.endswith(MESSAGE.replace(b"\r\n", b"\n"))
    assert stored.count(b"\nReceived:") + stored.startswith(b"Received:") == 1
    client = (
        f"[{'IPv6:' if isinstance(right.mta, Postfix) else ''}{CIRCUIT}]" if right.proxy_protocol else "[127.0.0.1]"
    )
    assert client.encode() in stored


@pytest.mark.parametrize(
    "command",
    [f"VRFY alice@{DOMAIN}", "EXPN postmaster", f"ETRN {DOMAIN}", "XCLIENT ADDR=10.0.0.1", "XFORWARD ADDR=10.0.0.1"],
)
def test_onion_clients_learn_and_start_nothing(right: Receiver, command: str) -> None:
    with connect(right) as session:
        code = session.docmd(command)[0]
        # RFC 5321 section 3.5.3: 252 says that the server does not tell.
        assert code in REFUSED or code in {252, 458}
        if command.startswith("VRFY"):
            assert session.docmd(f"VRFY nobody@{DOMAIN}")[0] == code


def test_onion_clients_may_not_log_in(right: Receiver) -> None:
    with connect(right) as session:
        assert not session.has_extn("auth")
        assert session.docmd("AUTH", "PLAIN AGFueWJvZHkAc2VjcmV0")[0] == 503


def test_own_host_still_relays(right: Receiver) -> None:
    before = len(right.mta.sent_over_clearnet())
    right.mta.submit(f"alice@{DOMAIN}", ["friend@elsewhere.example"], MESSAGE)
    right.mta.wait_for_log(r"(=> friend <|to=<)friend@elsewhere\.example>.*(R=clearnet|status=sent)")
    assert len(right.mta.sent_over_clearnet()) == before + 1


def faults_seen(mta: Receiver) -> set[str]:
    """Ask the MTA for each right that a stranger should not have."""
    seen = set()
    with connect(mta) as session:
        session.mail("carol@elsewhere.example")
        if session.rcpt("victim@elsewhere.example")[0] == 250:
            seen.add("relay")
        session.rset()
        session.mail("carol@elsewhere.example")
        if session.rcpt(f"victim%elsewhere.example@{DOMAIN}")[0] == 250:
            seen.add("percent-hack")
        session.rset()
        seen |= {name for name in ("auth", "xclient") if session.has_extn(name)}
        if session.docmd(f"VRFY alice@{DOMAIN}")[0] != session.docmd(f"VRFY nobody@{DOMAIN}")[0]:
            seen.add("vrfy")
    return seen


RELAYS = {"trusts-loopback", "forward-to-localhost"}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_receiver_has_its_fault_and_no_other(name: str, tmp_path: Path) -> None:
    with receiver(name, tmp_path / "mta") as mta:
        assert mta.fault is not None
        assert faults_seen(mta) == {"relay" if mta.fault in RELAYS else mta.fault}


@pytest.mark.parametrize("name", ["exim-trusts-loopback", "postfix-percent-hack", "exim-percent-hack"])
def test_what_a_wrong_receiver_accepts_it_sends(name: str, tmp_path: Path) -> None:
    with receiver(name, tmp_path / "mta") as mta:
        victim = "victim@elsewhere.example" if mta.fault in RELAYS else f"victim%elsewhere.example@{DOMAIN}"
        with connect(mta) as session:
            session.sendmail("carol@elsewhere.example", victim, MESSAGE)
        mta.mta.wait_for_log(r"(=> victim <|to=<victim@elsewhere).*(R=clearnet|status=sent)")
        assert len(mta.mta.sent_over_clearnet()) == 1


def test_circuits_have_limits_of_their_own(tmp_path: Path) -> None:
    with postfix_receiver(tmp_path / "mta", "circuits") as mta, ExitStack() as open_sessions:
        address = ("127.0.0.2", mta.port)
        for _ in range(10):
            open_sessions.enter_context(Session(address, CIRCUIT))
        with pytest.raises(smtplib.SMTPConnectError, match="too many connections"):
            Session(address, CIRCUIT)
        open_sessions.enter_context(Session(address, OTHER_CIRCUIT))


def test_more_circuits_than_one_may_hold_connections(tmp_path: Path) -> None:
    """Near and far numbers: none of them is counted with another."""
    numbers = [1, 2, 0xFFFF, 0x10000, 0x123456, 0xFFFFFFFF, *range(0x1000, 0x1006)]
    with postfix_receiver(tmp_path / "mta", "circuits") as mta, ExitStack() as open_sessions:
        for number in numbers:
            circuit = f"fc00:dead:beef:4dad::{number >> 16:x}:{number & 0xFFFF:x}"
            session = open_sessions.enter_context(Session(("127.0.0.2", mta.port), circuit))
            assert session.mail("carol@elsewhere.example")[0] == 250


def test_limits_for_each_client_do_not_count_without_circuits(tmp_path: Path) -> None:
    main = "smtpd_client_connection_count_limit = 2\nsmtpd_client_message_rate_limit = 2\n"
    with Postfix(tmp_path / "mta", DOMAIN, main) as mta, ExitStack() as open_sessions:
        for _ in range(4):
            session = open_sessions.enter_context(Session(("127.0.0.2", mta.port)))
            assert session.mail("carol@elsewhere.example")[0] == 250


def test_listener_for_all_addresses_may_stay(tmp_path: Path) -> None:
    # Debian's "smtp inet" line, which trusts this host.
    with Postfix(tmp_path / "mta", DOMAIN, master="{port} inet n - n - - smtpd\n") as mta:
        for _ in range(5):
            with Session(("127.0.0.2", mta.port)) as session:
                session.mail("carol@elsewhere.example")
                assert session.rcpt("victim@elsewhere.example")[0] == 554


def test_documented_try_is_refused(tmp_path: Path) -> None:
    [(words, output)] = re.findall(r"^    \$ (smtp-source .*)\n    (.*)$", DOCUMENT.read_text(), re.MULTILINE)
    with postfix_receiver(tmp_path / "mta") as mta:
        arguments = words.replace("127.0.0.2:25", f"127.0.0.2:{mta.port}").split()
        tried = subprocess.run(
            [find_program(arguments[0]), *arguments[1:]],
            env={"LD_LIBRARY_PATH": str(UNPACKED / "usr/lib/postfix")},
            capture_output=True,
            text=True,
            check=False,
        )
    assert tried.returncode == 1
    assert tried.stderr.endswith(f"{output}\n")


REFUSALS = [("exim-circuits", smtplib.SMTPSenderRefused), ("postfix-circuits", smtplib.SMTPConnectError)]


@pytest.mark.parametrize(("name", "refusal"), REFUSALS)
def test_connection_without_circuit_is_refused_where_one_is_expected(
    name: str, refusal: type[smtplib.SMTPException], tmp_path: Path
) -> None:
    with receiver(name, tmp_path / "mta") as mta, pytest.raises(refusal), Session(mta.forward) as session:
        session.sendmail("carol@elsewhere.example", f"alice@{DOMAIN}", MESSAGE)


def postfix_on_another_machine(folder: Path) -> Postfix:
    blocks = documented(
        section(DOCUMENT.read_text(), "tor on a machine of its own"),
        {"10.0.0.1:2525": MX_MACHINE + ":{port}", "10.0.0.2": TOR_MACHINE, "n    -       y": "n    -       n"},
    )
    first, last = blocks["/etc/postfix/master.cf"].strip("\n").splitlines()
    service = [first, *ONION_MX.strip("\n").splitlines()[1:-1], last]
    # A limit that the last line must lift.
    return Postfix(folder, DOMAIN, "smtpd_client_connection_count_limit = 1\n", receiving="\n".join(service) + "\n")


def exim_on_another_machine(folder: Path) -> Exim:
    [block] = re.findall(r"in `000_localmacros`:\n\n((?: {4}.*\n)+)", (PROJECT / "exim" / "README.md").read_text())
    macros = dict(re.findall(r"^ +(\w+) = (.*)$", block.replace("10.0.0.1", MX_MACHINE), re.MULTILINE))
    interfaces = f"{LOCAL_SENDERS}.OWN_PORT : {MX_MACHINE}.OWN_PORT"
    own = {"MAIN_RELAY_NETS": LOCAL_SENDERS, "MAIN_LOCAL_INTERFACES": interfaces}
    return Exim(folder, DOMAIN, own | macros)


def test_tor_on_another_machine(tmp_path: Path) -> None:
    postfix, exim = postfix_on_another_machine(tmp_path / "postfix"), exim_on_another_machine(tmp_path / "exim")
    with postfix, exim, ExitStack() as open_sessions:
        for mta in (postfix, exim):
            for _ in range(3):
                session = open_sessions.enter_context(Session((MX_MACHINE, mta.port), source=TOR_MACHINE))
                session.mail("carol@elsewhere.example")
                assert session.rcpt("victim@elsewhere.example")[0] in REFUSED
                assert session.rcpt(f"alice@{DOMAIN}")[0] == 250
                assert not session.has_extn("auth")


def test_zone_that_keeps_exims_question_at_home() -> None:
    [zone] = re.findall(r'local-zone: "(.*)\." static', (PROJECT / "exim" / "README.md").read_text())
    assert ipaddress.ip_address(CIRCUIT).reverse_pointer.endswith(f".{zone}")
    assert zone.count(".") == 64 // 4 + 1


class ReceivingTor(OnionServiceHost):
    """A tor with the lines of the document in its torrc, for some receivers."""

    def __init__(self, folder: Path, network: str, receivers: dict[str, Receiver]) -> None:
        document = DOCUMENT.read_text()
        lines = [network, "SocksPort 0\n"]
        for name, mta in receivers.items():
            values = {"/var/lib/tor/onion-mx": f"{folder}/{name}", "127.0.0.2:25": "{}:{}".format(*mta.forward)}
            lines.append(documented(section(document, "The service and the record"), values)["/etc/tor/torrc"])
            lines.append(documented(section(document, "The circuit as the client's address"), {})["/etc/tor/torrc"])
        super().__init__("receiving", folder, "".join(lines))
        self._folders = {name: folder / name / "hostname" for name in receivers}

    def publish(self) -> dict[str, str]:
        """Start it and wait until its services can be found; return their host names."""
        self.start()
        self.daemon.wait_until(self.cookie.exists, "its cookie")
        self.daemon.wait_for_port(*self.control)
        for path in self._folders.values():
            self.daemon.wait_until(path.exists, f"{path}")
        onions = {name: path.read_text().strip() for name, path in self._folders.items()}
        events: dict[str, SimpleQueue[HSDescEvent]] = {onion: SimpleQueue() for onion in onions.values()}
        with self.controller() as controller:
            for queue in events.values():
                controller.add_event_listener(queue.put, EventType.HS_DESC)
            for onion, queue in events.items():
                self._wait_for_uploads(onion.removesuffix(".onion"), queue, START_TIMEOUT)
        return onions


def test_circuit_over_tor(tor_network: TorNetwork, tmp_path: Path) -> None:
    network = re.search(r"^DirAuthority .*\n", (tor_network.services.folder / "torrc").read_text(), re.MULTILINE)
    assert network is not None
    with ExitStack() as running:
        receivers = {
            name: running.enter_context(receiver(name, tmp_path / str(number))) for number, name in enumerate(CIRCUITS)
        }
        tor = ReceivingTor(tmp_path / "tor", network[0], receivers)
        running.callback(tor.stop)
        for name, onion in tor.publish().items():
            mta = receivers[name].mta
            tor_network.client.wait_until_reachable(onion)
            session = running.enter_context(OnionSession(tor_network.client.socks, onion))
            session.sendmail("carol@elsewhere.example", f"alice@{DOMAIN}", MESSAGE)
            [stored] = mta.wait_for_delivered(1)
            address = re.search(rb"fc00:dead:beef:4dad:[0-9a-f:]+", stored)
            assert address is not None
            assert address[0].decode() in mta.log_text()
            circuit = str(int(ipaddress.ip_address(address[0].decode())) & 0xFFFFFFFF)
            with tor.controller() as controller:
                assert circuit in [each.id for each in controller.get_circuits()]
                controller.close_circuit(circuit)
            with pytest.raises(smtplib.SMTPServerDisconnected):
                session.noop()
