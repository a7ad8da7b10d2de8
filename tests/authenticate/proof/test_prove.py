"""Onion MXes that prove themselves through a SOCKS port, or do not."""

import asyncio
import hashlib
import ssl
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from socket import socket

import pytest

from onionmx.answer import CouldNotTell
from onionmx.authenticate.demand.authorities import Authorities
from onionmx.authenticate.demand.requirement import Demand, EnforcedPolicy, Kind
from onionmx.authenticate.demand.tlsa import Tlsa
from onionmx.authenticate.proof.prove import NotProven, Proven, PutOff, prove
from onionmx.onion import Endpoint
from tests.authenticate.onions import OnionMxes
from tests.mapfile.maps import A, B, C
from tests.net.certificates import MONTH, NOW, Issued, issue
from tests.onions import make_onion
from tests.probe.mx import PATIENCE, SHORT, connector_of, run
from tests.relay.peer import hang, reset, running, saying

MX = "mx.example.org"
CA = issue(is_ca=True, common_name="Root")
BETWEEN = issue(is_ca=True, ca=CA, common_name="Between")
RIGHT = issue(MX, ca=BETWEEN)
WRONG_NAME = issue("mx.evil.example", ca=BETWEEN)
STRANGE_CA = issue(MX, ca=issue(is_ca=True, common_name="Other"))
LATER = (NOW + 10 * MONTH).timestamp()

MTA_STS = Demand(Kind.MTA_STS, (MX, "*.backup.example"), server_name=MX)


def requirement(demand: Demand, expires: float = LATER) -> EnforcedPolicy:
    return EnforcedPolicy("example.org", demand, 0.0, expires)


def dane(usage: int, of: Issued) -> Demand:
    return Demand(Kind.DANE, (MX,), (Tlsa(usage, 0, 1, hashlib.sha256(of.der).digest()),), MX)


def context(folder: Path, issued: Issued, *chain: Issued) -> ssl.SSLContext:
    return issued.context(folder, *chain)


def proved(  # noqa: PLR0913, PLR0917 -- the last of them are for one test each
    tmp_path: Path,
    mx: OnionMxes,
    wanted: EnforcedPolicy,
    endpoints: Sequence[Endpoint] = ((A, 25),),
    patience: float = PATIENCE,
    hanging: str = "",
) -> Proven | NotProven | CouldNotTell:
    """Ask the onions; connections to `hanging` never come about."""
    (tmp_path / "ca.pem").write_bytes(CA.pem)
    authorities = Authorities(str(tmp_path / "ca.pem"))
    found: list[Proven | NotProven | CouldNotTell] = []

    async def ask() -> None:
        async with running(mx):
            connector = connector_of(mx)

            async def connect(endpoint: Endpoint) -> socket:
                if endpoint[0] == hanging:
                    await asyncio.Event().wait()
                return await connector.connect(endpoint)

            try:
                found.append(
                    await prove(wanted, endpoints, connect, authorities, hello="client.example", timeout=patience)
                )
            finally:
                connector.close()
                await mx.finish()

    run(ask())
    return found[0]


def test_certificate_of_the_policy(tmp_path: Path) -> None:
    mx = OnionMxes(contexts={A: context(tmp_path, RIGHT, BETWEEN)})
    verdict = proved(tmp_path, mx, requirement(MTA_STS))
    assert verdict == Proven(((A, 25),), (MX,), RIGHT.certificate.not_valid_after_utc.timestamp())
    assert mx.asked_for == [MX]
    assert mx.commands == ["EHLO client.example", "STARTTLS", "QUIT"]


@pytest.mark.parametrize(("usage", "of"), [(3, RIGHT), (2, BETWEEN), (2, CA)])
def test_certificate_of_a_tlsa_record(tmp_path: Path, usage: int, of: Issued) -> None:
    demand = dane(usage, of)
    verdict = proved(tmp_path, OnionMxes(contexts={A: context(tmp_path, RIGHT, BETWEEN, CA)}), requirement(demand))
    assert isinstance(verdict, Proven)
    assert f"TLSA {demand.tlsa[0]}" in verdict.names


def test_proof_ends_with_the_policy(tmp_path: Path) -> None:
    soon = NOW.timestamp() + 60
    verdict = proved(tmp_path, OnionMxes(contexts={A: context(tmp_path, RIGHT, BETWEEN)}), requirement(MTA_STS, soon))
    assert isinstance(verdict, Proven)
    assert verdict.expires == soon


@pytest.mark.parametrize(
    ("issued", "demand", "words"),
    [
        (issue(MX), MTA_STS, "no authority vouches for the certificate: self-signed certificate"),
        (STRANGE_CA, MTA_STS, "no authority vouches for the certificate: unable to get local issuer"),
        (issue(MX, ca=CA, end=NOW - timedelta(1)), MTA_STS, "certificate has expired"),
        (issue("mx.evil.example", ca=CA), MTA_STS, "the certificate is for mx.evil.example; expected mx.example.org"),
        (issue(ca=CA), MTA_STS, "the certificate is for no names"),
        (STRANGE_CA, dane(3, RIGHT), "no TLSA record matches"),
        (STRANGE_CA, dane(2, CA), "no TLSA record matches"),
    ],
)
def test_other_certificates(tmp_path: Path, issued: Issued, demand: Demand, words: str) -> None:
    mx = OnionMxes(contexts={A: context(tmp_path, issued)})
    verdict = proved(tmp_path, mx, requirement(demand))
    assert isinstance(verdict, NotProven)
    assert words in verdict.reason
    assert verdict.reason.startswith(A)
    assert mx.commands == ["EHLO client.example", "STARTTLS"], "nothing is said after the handshake"


def test_intermediate_that_is_not_sent(tmp_path: Path) -> None:
    verdict = proved(tmp_path, OnionMxes(contexts={A: context(tmp_path, RIGHT)}), requirement(MTA_STS))
    assert isinstance(verdict, NotProven)


@pytest.mark.parametrize(
    ("verb", "said", "kind", "words"),
    [
        ("EHLO", "250 mx.example\r\n", NotProven, "does not offer STARTTLS"),
        ("EHLO", "502 no\r\n", NotProven, "does not offer STARTTLS"),
        ("STARTTLS", "554 5.7.0 no key\r\n", NotProven, "STARTTLS: 554 5.7.0 no key"),
        ("STARTTLS", "454 4.7.0 not now\r\n", PutOff, "STARTTLS: 454 4.7.0 not now"),
        ("STARTTLS", "220 go\r\n250 injected\r\n", PutOff, "bytes in the clear"),
        ("greeting", "554 no\r\n", PutOff, "the peer refuses the session"),
    ],
)
def test_dialogue_that_ends_early(tmp_path: Path, verb: str, said: str, kind: type, words: str) -> None:
    mx = OnionMxes(contexts={A: context(tmp_path, RIGHT, BETWEEN)}, replies={verb: said})
    verdict = proved(tmp_path, mx, requirement(MTA_STS))
    assert isinstance(verdict, kind)
    assert words in str(verdict)


@pytest.mark.parametrize("fault", [reset, hang, saying("rubbish\r\n")])
@pytest.mark.parametrize("verb", ["greeting", "STARTTLS"])
def test_peer_that_breaks(tmp_path: Path, verb: str, fault: object) -> None:
    mx = OnionMxes(contexts={A: context(tmp_path, RIGHT, BETWEEN)}, faults={verb: fault})  # type: ignore[dict-item]
    assert isinstance(proved(tmp_path, mx, requirement(MTA_STS), patience=SHORT), PutOff)


def test_onion_that_cannot_be_reached(tmp_path: Path) -> None:
    verdict = proved(tmp_path, OnionMxes(socks=0xF0), requirement(MTA_STS))
    assert isinstance(verdict, CouldNotTell)
    assert not isinstance(verdict, PutOff)
    assert verdict.reason.count(A) == 1
    assert "no descriptor found" in verdict.reason


def test_targets_that_do_not_prove_themselves_are_left_out(tmp_path: Path) -> None:
    contexts = {A: context(tmp_path, STRANGE_CA), B: context(tmp_path, RIGHT, BETWEEN)}
    verdict = proved(tmp_path, OnionMxes(contexts=contexts), requirement(MTA_STS), ((A, 25), (B, 25), (C, 25)))
    assert isinstance(verdict, Proven)
    assert verdict.endpoints == ((B, 25),)
    first, second = verdict.left_out
    assert first.startswith(f"{A}: no authority vouches")
    assert second == f"{C}: it does not offer STARTTLS"


def test_one_that_hangs_takes_nothing_from_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onionmx.authenticate.proof.prove.LONGEST", 8.0)
    mx = OnionMxes(contexts={A: context(tmp_path, RIGHT, BETWEEN)})
    verdict = proved(tmp_path, mx, requirement(MTA_STS), ((A, 25), (B, 25)), hanging=B)
    assert isinstance(verdict, Proven)
    assert verdict.endpoints == ((A, 25),)
    assert verdict.left_out == (f"{B}: no proof within 8 s",)


def test_slow_replies_put_off_the_question_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them in time, but all of them together in more than there is for the whole."""
    monkeypatch.setattr("onionmx.authenticate.proof.prove.LONGEST", 8.0)
    mx = OnionMxes(contexts={A: context(tmp_path, RIGHT, BETWEEN)}, faults={"STARTTLS": hang})
    verdict = proved(tmp_path, mx, requirement(MTA_STS), ((A, 25), (B, 25)), hanging=B)
    assert isinstance(verdict, PutOff)
    assert verdict.reason == f"{A}: no proof within 8 s; {B}: no proof within 8 s"
    assert not isinstance(proved(tmp_path, mx, requirement(MTA_STS), ((B, 25),), hanging=B), PutOff)


def test_not_more_than_a_domain_may_have(tmp_path: Path) -> None:
    endpoints = [(make_onion(f"mx{number}"), 25) for number in range(30)]
    mx = OnionMxes(contexts={onion: context(tmp_path, RIGHT, BETWEEN) for onion, _ in endpoints})
    verdict = proved(tmp_path, mx, requirement(MTA_STS), endpoints)
    assert isinstance(verdict, Proven)
    assert verdict.endpoints == tuple(endpoints[:10])
    assert len(verdict.left_out) == 20


def test_whatever_comes_up_is_could_not_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def examine(*_given: object) -> None:
        raise RecursionError("deep")

    monkeypatch.setattr("onionmx.authenticate.proof.stream.examine", examine)
    verdict = proved(tmp_path, OnionMxes(contexts={A: context(tmp_path, RIGHT, BETWEEN)}), requirement(MTA_STS))
    assert isinstance(verdict, CouldNotTell)
    assert not isinstance(verdict, PutOff), "a fault of ours says nothing about the onion MX"
    assert "RecursionError: deep" in verdict.reason
    assert "Traceback" in caplog.text
