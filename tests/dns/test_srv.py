"""The three answers, told apart for every kind of response."""

import asyncio

import dns.flags
import dns.message
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.answer import Answer, CouldNotTell, Found, NoRoute, Unroutable
from onionmx.config import DnsSection
from onionmx.dns.response import Record, read_response, read_targets
from onionmx.dns.srv import SrvResolver, chance_for
from onionmx.errors import DnsError
from onionmx.target import Source, Target, Trust
from tests.dns.scripted import Query, Reaction, reply, scripted_server
from tests.onions import IMPOSSIBLE_ONIONS, V2_ONION, make_onion

A, B, C = (make_onion(seed) for seed in "abc")
NAME = "_onion-mx._tcp.example.org"
SOA = "example.org. 300 IN SOA ns.example.org. host.example.org. 1 2 3 4 60"
SIGNATURE = "13 4 60 20300101000000 20200101000000 1 example.org. AAAA"
GOOD = reply(f"{NAME}. 3600 IN SRV 0 5 25 {A}.")

SIGNED_ALIASES = (
    f"_tcp.example.org. 30 IN RRSIG DNAME {SIGNATURE}",
    "_tcp.example.org. 30 IN DNAME x.example.org.",
    f"{NAME}. 30 IN RRSIG CNAME {SIGNATURE}",
    f"{NAME}. 30 IN CNAME _onion-mx.x.example.org.",
)

AMPLE = 60.0
"""Seconds for an answer that is expected: it may come late on a busy machine."""
SHORT = 0.3
"""Seconds for one that never comes."""
NO_ANSWER = f"no valid answer within {SHORT} s"


def ask(reactions: dict[str, Reaction], domain: str = "example.org", timeout: float = AMPLE) -> Answer:
    return ask_and_listen(reactions, domain, timeout)[0]


def ask_and_listen(
    reactions: dict[str, Reaction], domain: str = "example.org", timeout: float = AMPLE
) -> tuple[Answer, list[tuple[str, str]]]:
    async def run() -> tuple[Answer, list[tuple[str, str]]]:
        async with scripted_server(reactions) as (server, address):
            resolver = SrvResolver(DnsSection(nameservers=(address,), timeout=timeout))
            return await resolver.ask(domain), server.questions

    return asyncio.run(run())


def test_found() -> None:
    answer, questions = ask_and_listen({NAME: GOOD})
    assert isinstance(answer, Found)
    assert answer.route.targets == (Target(A, 25, 0, 5),)
    assert (answer.route.source, answer.route.trust, answer.route.ttl) == (Source.SRV, Trust.UNSIGNED, 3600)
    assert questions == [(NAME, "SRV")]


def test_validated_answer_of_a_resolver_on_loopback_is_trusted() -> None:
    answer = ask({NAME: reply(f"{NAME}. 3600 IN SRV 0 5 25 {A}.", flags=dns.flags.RA | dns.flags.AD)})
    assert isinstance(answer, Found)
    assert answer.route.trust is Trust.DNSSEC


def test_targets_are_ordered_and_others_reported() -> None:
    records = f"{NAME}. 60 IN SRV "
    answer, questions = ask_and_listen(
        {
            NAME: reply(
                records + f"20 0 25 {B}.",
                records + f"10 0 2525 {A}.",
                records + "5 0 25 mail.example.org.",
                records + f"5 0 25 {V2_ONION}.",
                records + f"5 0 0 {C}.",
                records + "5 0 0 .",
            )
        }
    )
    assert isinstance(answer, Found)
    assert answer.route.endpoints == ((A, 2525), (B, 25))
    assert len(answer.notes) == 4
    assert questions == [(NAME, "SRV")], "no question for the address of a target"


def test_not_more_targets_than_a_domain_may_have() -> None:
    """An answer over TCP has room for 800, each of which would take connections, circuits and time."""
    onions = [make_onion(f"mx{number}") for number in range(60)]
    records = [Record(number % 2, number, 25, onion) for number, onion in enumerate(onions)]
    for written in (records, records[::-1]):
        targets, notes = read_targets(written)
        assert [target.onion for target in targets] == onions[58:38:-2], "priority, then weight"
        assert notes[0].startswith(f"left out, as a domain has at most 10 onion MXes: {onions[38]}, ")
        assert notes[0].endswith(" and 30 more")


def test_target_that_is_named_several_times_is_tried_once() -> None:
    """Where it comes first; and it takes no place of another."""
    often = [Record(priority, 0, 25, A) for priority in range(20, 5, -1)]
    others = [Record(8, 0, 25, B.upper()), Record(8, 3, 25, B), Record(9, 0, 26, A)]
    targets, notes = read_targets([*often, *others])
    assert targets == [Target(A, 25, 6, 0), Target(B, 25, 8, 3), Target(A, 26, 9, 0)]
    assert not notes


def test_hundreds_of_records_that_cannot_be_used() -> None:
    targets, notes = read_targets(Record(0, 0, 25, f"mail{number}.example.org") for number in range(100))
    assert targets == []
    assert len(notes) == 21
    assert notes[-1] == "left out: 80 more records that cannot be used"


def test_target_dot_means_no_service() -> None:
    answer = ask({NAME: reply(f"{NAME}. 60 IN SRV 0 0 0 .")})
    assert isinstance(answer, NoRoute)
    assert answer.notes == ("target . says: no service",)
    assert answer.ttl == 60


def test_alias_in_one_response_is_followed() -> None:
    answer = ask({NAME: reply(f"{NAME}. 30 IN CNAME x.example.net.", f"x.example.net. 60 IN SRV 0 0 25 {A}.")})
    assert isinstance(answer, Found)
    assert answer.route.ttl == 30


def test_alias_without_its_end_is_asked_for() -> None:
    answer, questions = ask_and_listen(
        {
            NAME: reply(f"{NAME}. 30 IN CNAME x.example.net."),
            "x.example.net": reply(f"x.example.net. 60 IN SRV 0 0 25 {A}."),
        }
    )
    assert isinstance(answer, Found)
    assert answer.route.domain == "example.org"
    assert answer.route.ttl == 30
    assert list(dict.fromkeys(questions)) == [(NAME, "SRV"), ("x.example.net", "SRV")]


@pytest.mark.parametrize(
    ("reaction", "ttl"),
    [
        (reply(rcode="NXDOMAIN", authority=(SOA,)), 60),
        (reply(authority=(SOA,)), 60),
        (reply(flags=dns.flags.AA, authority=(SOA,)), 60),
        (reply(f"{NAME}. 30 IN CNAME x.example.org.", rcode="NXDOMAIN", authority=(SOA,)), 30),
        (reply(rcode="NXDOMAIN"), 0),
        (reply(f"{NAME}. 30 IN CNAME x.example.net.", rcode="NXDOMAIN", authority=(SOA,)), 0),
        (reply(*SIGNED_ALIASES, rcode="NXDOMAIN", authority=(SOA,)), 30),
    ],
)
def test_no_route_where_the_server_plainly_says_so(reaction: Reaction, ttl: int) -> None:
    answer = ask({NAME: reaction})
    assert isinstance(answer, NoRoute)
    assert answer.ttl == ttl


def packet(change: bytes, at: int) -> Reaction:
    def react(query: Query) -> bytes | None:
        good = GOOD(query)
        assert good
        return good[:at] + change + good[at + len(change) :]

    return react


@pytest.mark.parametrize(
    ("reaction", "why"),
    [
        (reply(rcode="SERVFAIL"), "SERVFAIL"),
        (reply(rcode="REFUSED"), "REFUSED"),
        (reply(rcode="NOTIMP"), "NOTIMP"),
        (reply(rcode="YXDOMAIN"), "YXDOMAIN"),
        (reply(flags=0, rcode="NXDOMAIN"), "lame"),
        (reply(flags=0), "lame"),
        (reply(flags=0, authority=("example.org. 60 IN NS ns.example.org.",)), "lame"),
        (reply(authority=("example.org. 60 IN NS ns.example.org.",)), "lame: the server refers to others"),
        (reply(f"_onion-mx._tcp.example.net. 60 IN SRV 0 0 25 {A}."), "for another name"),
        (reply("_onion-mx._tcp.example.org. 60 IN A 192.0.2.1"), "another type: A instead of SRV"),
        (reply(f"_onion-mx._tcp.example.net. 60 IN SRV 0 0 25 {A}.", rcode="NXDOMAIN"), "for another name"),
        (reply(f"{NAME}. 60 IN SRV 0 0 25 {A}.", rcode="NXDOMAIN"), "an answer was found"),
        (reply(f"{NAME}. 60 IN CNAME {NAME}."), "contradicts itself|CNAME chain"),
        (reply("_tcp.example.org. 60 IN DNAME example.net."), "for another name"),
        (reply(f"{NAME}. 60 IN DNAME example.net.", authority=(SOA,)), "another type: DNAME instead of SRV"),
        (reply(f"{NAME}. 60 IN RRSIG SRV {SIGNATURE}"), "another type: RRSIG instead of SRV"),
        (reply(f"{NAME}. 60 IN RRSIG SRV {SIGNATURE}", rcode="NXDOMAIN", authority=(SOA,)), "RRSIG instead of SRV"),
        (lambda _query: None, NO_ANSWER),
        (lambda _query: b"", NO_ANSWER),
        (lambda query: (GOOD(query) or b"")[:20], NO_ANSWER),
        (packet(b"\0\0", 0), NO_ANSWER),
        (packet(b"\x09_other-mx", 12), NO_ANSWER),
        (packet(b"\0\x02", 4), NO_ANSWER),
        (reply(flags=dns.flags.TC), "refused|Connect"),
    ],
)
def test_everything_else_is_could_not_tell(reaction: Reaction, why: str) -> None:
    answer = ask({NAME: reaction}, timeout=SHORT if why == NO_ANSWER else AMPLE)
    assert isinstance(answer, CouldNotTell)
    assert answer.reason.startswith(NAME)
    assert "\n" not in answer.reason
    assert any(word in answer.reason for word in why.split("|"))


def test_loop_of_aliases_ends() -> None:
    answer = ask(
        {
            NAME: reply(f"{NAME}. 60 IN CNAME x.example.net."),
            "x.example.net": reply(f"x.example.net. 60 IN CNAME {NAME}."),
        }
    )
    assert isinstance(answer, CouldNotTell)
    assert "aliases" in answer.reason


@pytest.mark.parametrize("domain", [A, f"user.{A}", "a." * 80 + A, *IMPOSSIBLE_ONIONS.values()])
def test_onion_names_are_never_asked_in_dns(domain: str) -> None:
    answer, questions = ask_and_listen({}, domain)
    assert questions == []
    if domain.endswith(A):
        assert isinstance(answer, Found)
        assert answer.route.endpoints == ((A, 25),)
        assert answer.route.source is Source.ONION
    else:
        assert isinstance(answer, Unroutable)


def test_domain_without_room_for_the_prefix() -> None:
    domain = ".".join(["a" * 60] * 4)
    answer, questions = ask_and_listen({}, domain)
    assert isinstance(answer, NoRoute)
    assert questions == []


@given(st.binary(max_size=300))
def test_any_packet_gives_an_answer_or_the_documented_error(tail: bytes) -> None:
    try:
        message = dns.message.from_wire(b"\0\1\x81\x80" + tail, ignore_trailing=True)
    except dns.exception.DNSException:
        return
    try:
        read_response(message)
    except DnsError as error:
        assert str(error)


def test_order_of_targets_is_the_same_at_each_run_on_one_host() -> None:
    assert chance_for("example.org").random() == chance_for("example.org").random()
    assert chance_for("example.org").random() != chance_for("example.net").random()
