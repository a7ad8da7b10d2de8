"""A domain that demands a proof is delivered to an onion MX that shows it, and to nobody else."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from onionmx.authenticate.demand.policy_lookup import PolicyAnswer
from onionmx.authenticate.demand.remember import RememberedPolicyLookup
from onionmx.authenticate.demand.requirement import Demand, Kind
from onionmx.authenticate.proof.published import demands_path, publishing_demands
from onionmx.config import AuthenticateSection
from onionmx.errors import DnsError
from onionmx.relay.demands import Demands
from onionmx.target import Route, Source, Trust
from tests.authenticate.domains import NOTHING, REQUIREMENT, UNKNOWN, Domains, live
from tests.authenticate.onions import OnionMxes
from tests.mapfile.maps import A, B
from tests.net.certificates import Issued, issue
from tests.relay.relay import LMTP, SMTP, Relay, codes, play

MX = "mx.example.org"
CA = issue(is_ca=True, common_name="Root")
RIGHT = issue(MX, ca=CA)
YESTERDAY = datetime.now(UTC) - timedelta(days=1)
DEMAND = Demand(Kind.MTA_STS, (MX,), server_name=MX)
ENTRIES = {"example.org": ((A, 25),), "plain.example": ((A, 25),), "two.example": ((B, 25), (A, 25))}
DEMANDING = {"example.org": DEMAND, "two.example": DEMAND}


def relayed(
    tmp_path: Path,
    shown: dict[str, Issued],
    test: Callable[[Relay], Awaitable[Any]],
    mode: str = "when-required",
    replies: dict[str, str] | None = None,
) -> OnionMxes:
    """Relay to onion MXes that show these certificates."""
    contexts = {onion: issued.context(tmp_path) for onion, issued in shown.items()}
    peer = OnionMxes(contexts=contexts, replies=replies or {})
    (tmp_path / "ca.pem").write_bytes(CA.pem)
    with publishing_demands(tmp_path / "map.cdb", DEMANDING):
        pass
    settings = AuthenticateSection(ca_file=str(tmp_path / "ca.pem"), mode=mode)  # type: ignore[arg-type]
    play(tmp_path, test, peer, ENTRIES, settings)
    return peer


def verbs(peer: OnionMxes) -> list[str]:
    return [command.split(" ")[0] for command in peer.commands]


@pytest.mark.parametrize("client", [LMTP, SMTP])
def test_right_certificate(tmp_path: Path, client: Any) -> None:  # noqa: ANN401
    async def test(relay: Relay) -> None:
        assert codes(await relay.send("user@example.org", client=client)) == ["250 2.1.5", "250 2.0.0"]

    peer = relayed(tmp_path, {A: RIGHT}, test)
    assert verbs(peer)[:3] == ["EHLO", "STARTTLS", "EHLO"]
    assert peer.asked_for == [MX]


@pytest.mark.parametrize(
    ("issued", "words"),
    [
        (issue(MX), "no authority vouches for the certificate"),
        (issue("mx.evil.example", ca=CA), "the certificate is for mx.evil.example"),
        (issue(MX, ca=CA, end=YESTERDAY), "certificate has expired"),
    ],
)
def test_other_certificate(tmp_path: Path, issued: Issued, words: str) -> None:
    async def test(relay: Relay) -> None:
        for _ in range(2):  # the fault is one of this domain's policy, and the onion stays in use
            *_, reply = await relay.send("user@example.org")
            assert codes([reply]) == ["451 4.7.5"]
            assert words in reply.text
        assert codes(await relay.send("user@plain.example"))[-1] == "250 2.0.0"

    peer = relayed(tmp_path, {A: issued}, test)
    assert verbs(peer)[:4] == ["EHLO", "STARTTLS", "EHLO", "STARTTLS"], "no word of the message"
    assert len(peer.messages) == 1


def test_without_starttls(tmp_path: Path) -> None:
    async def test(relay: Relay) -> None:
        *_, reply = await relay.send("user@example.org")
        assert codes([reply]) == ["451 4.7.5"]
        assert "does not offer STARTTLS" in reply.text

    assert "MAIL" not in verbs(relayed(tmp_path, {}, test))


@pytest.mark.parametrize("stage", ["greeting", "EHLO", "STARTTLS"])
def test_who_has_not_proven_itself_refuses_nothing_for_good(tmp_path: Path, stage: str) -> None:
    async def test(relay: Relay) -> None:
        *_, reply = await relay.send("user@example.org")
        assert codes([reply]) == ["451 4.7.5"]
        assert "554 5.7.1 not here" in reply.text

    assert "MAIL" not in verbs(relayed(tmp_path, {A: RIGHT}, test, replies={stage: "554 5.7.1 not here\r\n"}))


def test_several_recipients_answered_one_by_one(tmp_path: Path) -> None:
    async def test(relay: Relay) -> None:
        replies = await relay.send("one@example.org", "two@example.org", client=SMTP)
        assert codes(replies) == ["250 2.1.5", "451 4.7.5", "451 4.7.5"]

    assert "MAIL" not in verbs(relayed(tmp_path, {A: issue(MX)}, test))


def test_next_target_that_proves_itself(tmp_path: Path) -> None:
    async def test(relay: Relay) -> None:
        assert codes(await relay.send("user@two.example"))[-1] == "250 2.0.0"

    peer = relayed(tmp_path, {A: RIGHT, B: issue(MX)}, test)
    assert [onion for onion, _ in peer.targets] == [B, A]


def test_a_plain_session_is_not_used_for_a_demand(tmp_path: Path) -> None:
    async def test(relay: Relay) -> None:
        for recipient in ("user@plain.example", "user@example.org", "user@plain.example", "user@example.org"):
            assert codes(await relay.send(recipient))[-1] == "250 2.0.0"

    peer = relayed(tmp_path, {A: RIGHT}, test)
    assert len(peer.targets) == 2
    assert verbs(peer).count("STARTTLS") == 1


def test_recipients_of_one_onion_with_and_without_a_demand(tmp_path: Path) -> None:
    async def test(relay: Relay) -> None:
        replies = await relay.send("user@plain.example", "user@example.org", client=LMTP)
        assert codes(replies) == ["250 2.1.5", "250 2.1.5", "250 2.0.0", "451 4.7.5"]

    assert len(relayed(tmp_path, {A: issue(MX)}, test).messages) == 1


def test_off(tmp_path: Path) -> None:
    async def test(relay: Relay) -> None:
        assert codes(await relay.send("user@example.org"))[-1] == "250 2.0.0"

    assert "STARTTLS" not in verbs(relayed(tmp_path, {A: issue(MX)}, test, "off"))


def test_damaged_demands_hold_the_mail(tmp_path: Path) -> None:
    async def test(relay: Relay) -> None:
        assert codes(await relay.send("user@example.org"))[-1] == "250 2.0.0"
        demands_path(tmp_path / "map.cdb").write_bytes(b"rubbish")
        (reply,) = await relay.send("user@example.org")
        assert codes([reply]) == ["451 4.7.5"]
        assert "map.cdb.demands" in reply.text

    relayed(tmp_path, {A: RIGHT}, test)


class TestLiveRoutes:
    """Routes that DNS told just now: the domain has been asked, and the delivery checks the proof again."""

    def asked(self, said: PolicyAnswer, route: Route) -> Demand | None:
        async def run() -> Demand | None:
            policy_lookup = RememberedPolicyLookup(Domains(said), lambda: 0.0)
            try:
                return await Demands(None, policy_lookup).of(route)
            finally:
                await policy_lookup.close()

        return asyncio.run(run())

    def test_demand(self) -> None:
        assert self.asked(REQUIREMENT, live()) == REQUIREMENT.demand
        assert self.asked(NOTHING, live()) is None

    def test_could_not_tell(self) -> None:
        with pytest.raises(DnsError, match="DNS is silent"):
            self.asked(UNKNOWN, live())

    @pytest.mark.parametrize(
        "route",
        [live(Trust.DNSSEC), live(Trust.PINNED, Source.PIN), live(Trust.PINNED, Source.ONION), live(source=Source.MAP)],
    )
    def test_other_routes_need_no_question(self, route: Route) -> None:
        assert self.asked(UNKNOWN, route) is None
