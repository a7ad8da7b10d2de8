"""Exim that asks the lookup daemon by readsocket, with the fragments of exim/readsocket/ as they are."""

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from typing import Self

import pytest

from tests.mapfile.maps import A
from tests.onions import V2_ONION, make_onion

from . import relay_site
from .conftest import StartNameServers, skip_without
from .daemon import free_ports
from .exim import DEBIAN_LIKE, ONION_CLIENTS, Exim
from .name_servers import Zone
from .relay import LOOPBACK
from .serve_site import Serve, dnsport, fragments
from .tor_network import TorNetwork

SENDER = "sender.example"
MAPPED = "mapped.example"
UNMAPPED = "unmapped.example"
LOCAL = f"alice@{SENDER}"
MESSAGE = b"From: <carol@sender.example>\r\nSubject: a test\r\n\r\nHello\r\n"

PARTS = {
    "hosts": DEBIAN_LIKE | fragments("readsocket/conf.d"),
    "route": relay_site.exim_parts() | fragments("readsocket/relay/conf.d"),
}
WITH_ROUTE = {"hosts": "transport = onionmx_smtp", "route": "transport = onionmx_relay"}
NO_WAY = {"ONIONMX_SOCKS": "127.0.0.1 port=1", "ONIONMX_RELAY_PORT": "1"}
"""Neither tor nor a relay of this machine is on these ports."""
both = pytest.mark.parametrize("question", PARTS)

MakeExim = Callable[..., Exim]


@pytest.fixture
def make_exim(tmp_path: Path) -> Iterator[MakeExim]:
    skip_without("exim4", "setpriv")
    with ExitStack() as stopping:

        def make(question: str, port: int, **macros: str) -> Exim:
            macros = NO_WAY | {"ONIONMX_READSOCKET": f"inet:{LOOPBACK}:{port}"} | macros
            exim = Exim(tmp_path / "exim", SENDER, macros, PARTS[question])
            stopping.callback(exim.stop)
            return exim

        yield make


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    skip_without("tor")
    with dnsport(tmp_path / "tor") as (host, port):
        options = ("[tor]", f'dnsport = "{host}:{port}"')
        serve = Serve(tmp_path / "serve", options=options)
        serve.publish({MAPPED: A, SENDER: A, "xn--mller-kva.example": A})
        with serve:
            yield serve


def assert_deferred(exim: Exim, reason: str) -> None:
    """See that nobody's route can be told, whether the domain has one or not, and local mail arrives even so."""
    for domain in (MAPPED, UNMAPPED):
        shown = exim.route_test(f"alice@{domain}")
        assert re.search(f"cannot be resolved at this time: .*cannot tell the route to {domain}: {reason}", shown)
    assert "router = local_user" in exim.route_test(LOCAL)


@both
def test_the_daemon_decides(serve: Serve, make_exim: MakeExim, question: str) -> None:
    exim = make_exim(question, serve.readsocket[1])
    for domain in (MAPPED, MAPPED.upper()):
        assert f"router = onionmx, {WITH_ROUTE[question]}" in exim.route_test(f"alice@{domain}")
    for domain in (UNMAPPED, f"sub.{MAPPED}", "[192.0.2.1]"):
        assert "router = clearnet" in exim.route_test(f"alice@{domain}")
    assert "router = local_user" in exim.route_test(LOCAL)


@both
def test_an_international_domain_is_found(serve: Serve, make_exim: MakeExim, question: str) -> None:
    exim = make_exim(question, serve.readsocket[1])
    with exim.start().connect() as session:
        session.sendmail(f"carol@{SENDER}", ["alice@müller.example"], MESSAGE, mail_options=["SMTPUTF8"])
    exim.wait_for_log(r"== alice@müller\.example R=onionmx T=\w+ defer ")


def test_hosts_are_virtual_addresses_of_tor(serve: Serve, make_exim: MakeExim) -> None:
    shown = make_exim("hosts", serve.readsocket[1]).route_test(f"alice@{MAPPED}")
    assert re.search(r"host (127\.\d+\.\d+\.\d+) +\[\1\]", shown)


@both
def test_an_impossible_onion_is_kept_from_the_open_dns(serve: Serve, make_exim: MakeExim, question: str) -> None:
    exim = make_exim(question, serve.readsocket[1])
    for domain in ("short.onion", V2_ONION, make_onion(0, spoil_checksum=True)):
        assert f"is undeliverable: onionmx: no mail for {domain}" in exim.route_test(f"alice@{domain}")


@both
def test_one_question_for_all_recipients_of_a_domain(serve: Serve, make_exim: MakeExim, question: str) -> None:
    exim = make_exim(question, serve.readsocket[1]).start()
    asked = serve.metrics()['onionmx_lookup_requests_total{answer="found",protocol="readsocket"}']
    exim.submit(f"carol@{SENDER}", [f"{name}@{MAPPED}" for name in ("a", "b", "c", "d")], MESSAGE)
    exim.wait_for_log(rf"== d@{MAPPED} R=onionmx T=\w+ defer ")
    assert serve.metrics()['onionmx_lookup_requests_total{answer="found",protocol="readsocket"}'] == asked + 1


@both
def test_mail_waits_while_the_daemon_is_stopped(serve: Serve, make_exim: MakeExim, question: str) -> None:
    exim = make_exim(question, serve.readsocket[1]).start()
    serve.stop()
    exim.submit(f"carol@{SENDER}", [f"alice@{MAPPED}", f"alice@{UNMAPPED}", LOCAL], MESSAGE)
    for domain in (MAPPED, UNMAPPED):
        exim.wait_for_log(rf"== alice@{domain} R=onionmx_unknown defer .*does not answer: is onionmx serve running\?")
    exim.wait_for_delivered(1)
    assert exim.sent_over_clearnet() == []
    serve.start()
    exim.run_queue()
    exim.wait_for_log(rf"=> alice <alice@{UNMAPPED}> R=clearnet")
    assert len(exim.sent_over_clearnet()) == 1
    assert f"<alice@{MAPPED}>" not in exim.log_text()


@both
def test_mail_waits_while_the_daemon_hangs(serve: Serve, make_exim: MakeExim, question: str) -> None:
    exim = make_exim(question, serve.readsocket[1], ONIONMX_TIMEOUT="1s")
    serve.daemon.signal(SIGSTOP)
    assert_deferred(exim, "inet:.* does not answer")
    serve.daemon.signal(SIGCONT)
    # Each answer has its second, which is short on a busy machine.
    serve.daemon.wait_until(
        lambda: "router = clearnet" in exim.route_test(f"alice@{UNMAPPED}"), "the daemon answers in time"
    )


@both
def test_mail_waits_while_the_map_cannot_tell(serve: Serve, make_exim: MakeExim, question: str) -> None:
    exim = make_exim(question, serve.readsocket[1])
    serve.map.rename(serve.folder / "elsewhere")
    serve.daemon.wait_until(
        lambda: "cannot tell" in exim.route_test(f"alice@{MAPPED}"), "the daemon sees that its map is gone"
    )
    assert_deferred(exim, ".*onionmx.cdb")


def test_mail_waits_while_tors_dnsport_is_silent(tmp_path: Path, make_exim: MakeExim) -> None:
    [nobody] = free_ports(1)
    serve = Serve(tmp_path / "serve", options=("[tor]", f'dnsport = "{LOOPBACK}:{nobody}"'))
    serve.publish({MAPPED: A})
    with serve:
        exim = make_exim("hosts", serve.readsocket[1])
        assert "cannot tell the route" in (shown := exim.route_test(f"alice@{MAPPED}"))
        assert "tor's DNSPort" in shown
        assert "router = clearnet" in exim.route_test(f"alice@{UNMAPPED}")


@both
def test_live_routes_and_failing_dns(
    name_servers: StartNameServers, tmp_path: Path, make_exim: MakeExim, question: str
) -> None:
    servers = name_servers({"live.example": Zone(f"_onion-mx._tcp 3600 SRV 0 5 25 {A}."), "other.example": Zone("")})
    with dnsport(tmp_path / "tor") as (host, port):
        options = ("[tor]", f'dnsport = "{host}:{port}"')
        with Serve(tmp_path / "serve", servers.resolver, options) as serve:
            exim = make_exim(question, serve.readsocket[1])
            assert WITH_ROUTE[question] in exim.route_test("alice@live.example")
            servers.stop_authority()
            assert "cannot tell the route to other.example: " in exim.route_test("alice@other.example")
            # Known from before.
            assert WITH_ROUTE[question] in exim.route_test("bob@live.example")


class Scripted:
    """Answers every connection with the same bytes, and closes it, or does not."""

    def __init__(self, answer: bytes, *, closes: bool = True) -> None:
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listener.getsockname()[1]
        self._answer = answer
        self._closes = closes
        self._kept: list[socket.socket] = []
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            while data := connection.recv(4096):
                if data == b"stop":
                    connection.close()
                    return
            connection.sendall(self._answer)
            if self._closes:
                connection.close()
            else:
                self._kept.append(connection)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with socket.create_connection((LOOPBACK, self.port)) as connection:
            connection.sendall(b"stop")
            connection.shutdown(socket.SHUT_WR)
            self._thread.join()
        for kept in (self._listener, *self._kept):
            kept.close()


NEITHER = {
    "nothing": b"",
    "empty line": b"\n",
    "garbage": b"\x00\xff\xfe garbage\n",
    "another protocol": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "defer": b"defer DNS failed\n",
    "found without anything": b"found\n",
    "found cut off": b"found 127.192.0.1",
    "none without reason or end": b"none",
    "none cut off": b"none no SRV rec",
    "upper case": b"NONE no SRV record\n",
    "two answers": b"none no SRV record\nfound 127.192.0.1\n",
    "the other way round": b"found 127.192.0.1\nnone no SRV record\n",
    "something before": b" none no SRV record\n",
    "very long": b"x" * 1_000_000 + b"\n",
}


@both
@pytest.mark.parametrize("answer", NEITHER.values(), ids=list(NEITHER))
def test_what_is_neither_yes_nor_no_defers(make_exim: MakeExim, question: str, answer: bytes) -> None:
    with Scripted(answer) as server:
        assert_deferred(make_exim(question, server.port), "")


@pytest.mark.parametrize("hosts", [A, "127.192.0.1:mail.example", "127.192.0.1 192.0.2.1", "<; 127.192.0.1"])
def test_names_in_the_place_of_addresses_defer(make_exim: MakeExim, hosts: str) -> None:
    with Scripted(f"found {hosts}\n".encode()) as server:
        assert_deferred(make_exim("hosts", server.port), "found ")


@both
@pytest.mark.parametrize("answer", [b"", b"found 127.192.0.1", b"none no SRV record\n"])
def test_an_answer_that_never_ends_defers(make_exim: MakeExim, question: str, answer: bytes) -> None:
    with Scripted(answer, closes=False) as server:
        assert_deferred(make_exim(question, server.port, ONIONMX_TIMEOUT="1s"), "inet:.* does not answer")


def test_delivery_over_tor_to_virtual_addresses_from_the_daemon(tor_network: TorNetwork, tmp_path: Path) -> None:
    receiver_domain = "receiver.example"
    dnsport_address = "{}:{}".format(*tor_network.client.dnsport)
    with ExitStack() as running:
        receiver = running.enter_context(Exim(tmp_path / "receiver", receiver_domain))
        onion = tor_network.add_onion_service({25: (ONION_CLIENTS, receiver.port)})
        running.callback(tor_network.remove_onion_service, onion)
        serve = Serve(tmp_path / "serve", options=("[tor]", f'dnsport = "{dnsport_address}"'))
        serve.publish({receiver_domain: onion})
        running.enter_context(serve)
        macros = {
            "ONIONMX_READSOCKET": f"inet:{LOOPBACK}:{serve.readsocket[1]}",
            "ONIONMX_SOCKS": "{} port={}".format(*tor_network.client.socks),
        }
        sender = running.enter_context(Exim(tmp_path / "sender", SENDER, macros, PARTS["hosts"]))
        tor_network.client.wait_until_reachable(onion)
        sender.submit(f"carol@{SENDER}", [f"alice@{receiver_domain}", f"bob@{receiver_domain}"], MESSAGE)
        sender.wait_for_log(rf"=> alice@{receiver_domain} R=onionmx T=onionmx_smtp H=127\.")
        sender.wait_for_log(r" Completed$")
        copies = receiver.wait_for_delivered(2)
        assert [copy.endswith(MESSAGE.partition(b"\r\n\r\n")[2]) for copy in copies] == [True, True]
        # One question, one transaction.
        assert receiver.log_text().count(f"<= carol@{SENDER}") == 1
        assert sender.sent_over_clearnet() == []
