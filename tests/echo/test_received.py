"""Received fields of real MTAs, and of people who write what they like."""

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.echo.received import Hop, parse_received
from onionmx.relay.received import received_header

TIME = datetime(2026, 11, 29, 7, 0, tzinfo=UTC)
DATE = "Sun, 29 Nov 2026 07:00:00 +0000"
AT = TIME.timestamp()
CIRCUIT = "fc00:dead:beef:4dad::12:3456"

SAMPLES = {
    "exim": (
        (
            "from sender.example ([127.0.0.1])\n\tby mx.example with esmtps  (TLS1.3) tls TLS_AES_256_GCM_SHA384\n\t"
            f"(Exim 4.96)\n\t(envelope-from <alice@sender.example>)\n\tid 1-2-3\n\tfor echo@mx.example;\n\t{DATE}"
        ),
        Hop("sender.example", "127.0.0.1", "mx.example", "esmtps", "TLS1.3", AT),
    ),
    "exim, no name": (
        f"from [192.0.2.1] (port=4321 helo=sender.example) by mx.example with esmtp (Exim 4.98) id 1; {DATE}",
        Hop("sender.example", "192.0.2.1", "mx.example", "esmtp", "", AT),
    ),
    "exim, another name": (
        f"from a.example ([192.0.2.1] helo=b.example) by mx.example with esmtp (Exim 4.98) id 1; {DATE}",
        Hop("b.example", "192.0.2.1", "mx.example", "esmtp", "", AT),
    ),
    "exim, an address in EHLO": (
        f"from [192.0.2.1] (helo=[127.0.0.1]) by mx.example with esmtp (Exim 4.98) id 1; {DATE}",
        Hop("[127.0.0.1]", "192.0.2.1", "mx.example", "esmtp", "", AT),
    ),
    "exim, local": (
        f"from alice by sender.example with local (Exim 4.96) id 1; {DATE}",
        Hop("alice", "", "sender.example", "local", "", AT),
    ),
    "exim, circuit": (
        f"from [{CIRCUIT}] (helo=sender.example) by mx.example with esmtp (Exim 4.98) id 1; {DATE}",
        Hop("sender.example", CIRCUIT, "mx.example", "esmtp", "", AT),
    ),
    "postfix": (
        (
            "from sender.example (unknown [192.0.2.1])\n\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 "
            "(256/256 bits)\n\t key-exchange X25519)\n"
            "\t(Client did not present a certificate)\n\tby mx.example (Postfix) with ESMTPS"
            f" id ABC\n\tfor <echo@mx.example>; {DATE} (UTC)"
        ),
        Hop("sender.example", "192.0.2.1", "mx.example", "ESMTPS", "TLS1.3", AT),
    ),
    "postfix, an address in EHLO": (
        f"from [10.0.0.1] (unknown [192.0.2.1]) by mx.example (Postfix) with ESMTP id A; {DATE}",
        Hop("", "192.0.2.1", "mx.example", "ESMTP", "", AT),
    ),
    "postfix, circuit": (
        f"from sender.example (unknown [IPv6:{CIRCUIT}]) by mx.example (Postfix) with ESMTP id A; {DATE}",
        Hop("sender.example", CIRCUIT, "mx.example", "ESMTP", "", AT),
    ),
    "postfix, local": (
        f"by sender.example (Postfix, from userid 0) id ABC; {DATE}",
        Hop("", "", "sender.example", "", "", AT),
    ),
    "sendmail": (
        (
            "from sender.example (mail.sender.example [192.0.2.1] (may be forged)) by mx.example (8.18.1/8.18.1) with"
            f" ESMTPS id X (version=TLSv1.2 cipher=ECDHE bits=256 verify=NOT) for <e@mx.example>; {DATE}"
        ),
        Hop("sender.example", "192.0.2.1", "mx.example", "ESMTPS", "TLS1.2", AT),
    ),
    "exchange": (
        (
            "from SENDER.example (2001:db8::1) by MX.example (2001:db8::2) with Microsoft SMTP Server (version=TLS1_2,"
            f" cipher=TLS_ECDHE) id 15.20; {DATE}"
        ),
        Hop("SENDER.example", "2001:db8::1", "MX.example", "Microsoft", "TLS1.2", AT),
    ),
    "the relay": (
        received_header("sender.example", "LMTP", "0123456789ab", TIME).decode().partition(":")[2],
        Hop("", "", "sender.example", "LMTP", "", AT, is_relay=True),
    ),
    "TLS by the protocol alone": (
        f"from a.example (a.example [192.0.2.1]) by mx.example with ESMTPSA id 1; {DATE}",
        Hop("a.example", "192.0.2.1", "mx.example", "ESMTPSA", "yes", AT),
    ),
    "nothing": ("", Hop()),
    "no date": ("by mx.example", Hop(by="mx.example")),
    "an impossible date": ("by mx.example; Sun, 99 Nov 2026 99:00:00 +9999", Hop(by="mx.example")),
    "words of an attacker": (
        "from \x1b[31mbuy\u202e (http://x [192.0.2.1]) by mx.example <script>; yesterday",
        Hop("31mbuy", "192.0.2.1", "mx.example"),
    ),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_samples(name: str) -> None:
    field, hop = SAMPLES[name]
    if name == "words of an attacker":
        found = parse_received(field)
        assert (found.by, found.address, found.time) == (hop.by, hop.address, None)
        assert not set("\x1b\u202e<>") & set(found.name + found.protocol)
        return
    assert parse_received(field) == hop


PIECES = st.sampled_from(
    [
        "from ",
        "by ",
        "with ",
        "id ",
        "for ",
        ";",
        "(",
        ")",
        "[",
        "]",
        "helo=",
        "a.example ",
        "127.0.0.1",
        "\\",
        '"',
        DATE,
    ]
)


@given(st.one_of(st.text(), st.lists(PIECES).map("".join)))
def test_whatever_comes_a_hop_has_no_prose(field: str) -> None:
    hop = parse_received(field)
    for text in (hop.name, hop.address, hop.by, hop.protocol, hop.tls):
        assert len(text) <= 255
        assert text.isascii()
        assert " " not in text
        assert text.isprintable()


@given(
    st.from_regex(r"[a-z][a-z0-9.-]{0,30}", fullmatch=True),
    st.ip_addresses().map(str),
    st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 -- hypothesis wants naive bounds
)
def test_what_is_written_is_read(name: str, address: str, time: datetime) -> None:
    time = time.replace(microsecond=0)
    hop = parse_received(
        f"from x-{name} (y-{name} [{address}]) by z-{name} (P) with ESMTP id 1; {format_datetime(time)}"
    )
    assert hop == Hop(f"x-{name}", address, f"z-{name}", "ESMTP", "", time.timestamp())
