"""Which header fields leave a message, and that no signature is broken by it."""

import re
from collections import Counter
from datetime import UTC, datetime

import dkim  # type: ignore[import-untyped]
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from onionmx.config import RelaySection
from onionmx.relay.received import received_header
from onionmx.relay.scrub import MOST_HEADER, scrubbed
from onionmx.smtp.header import Field, parse_header, split_header

NAMES = frozenset((b"received", b"x-originating-ip", b"user-agent"))
BODY = b"\r\nUser-Agent: not in the header\r\n..dots\r\n\r\nX-Originating-IP: nor this\r\n"
INSIDE = b"Received: from laptop.lan ([192.168.1.7])\r\n\tby mail.example.org;\r\n\tMon, 1 Jan 2024 00:00:00 +0000\r\n"
AGENT = b"User-Agent: Mailer/1\r\n (on a laptop)\r\n"
ADDRESS = b"X-ORIGINATING-IP: [192.168.1.7]\r\n"
PLAIN = b"From: a@example.org\r\nSubject: \xc3\xbc\r\n"
OURS = received_header("mail.example.org", "LMTP", "0123456789", datetime(2024, 1, 1, tzinfo=UTC))
SIGNED = b"DKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=x; h=%s;\r\n\tbh=aa==; b=bb==\r\n"


def test_named_fields_go_with_their_folded_lines_and_all_else_stays() -> None:
    found = scrubbed(INSIDE + PLAIN + AGENT + ADDRESS + AGENT + BODY, NAMES)
    assert found == (PLAIN + BODY, 4, "")


def test_fields_of_relays_stay_and_show_a_loop() -> None:
    content = INSIDE + PLAIN + BODY
    for turn in range(60):
        content = INSIDE + OURS + scrubbed(content, NAMES).content
        assert content.count(b"Received: by mail.example.org (onionmx)") == turn + 1
    assert scrubbed(content, NAMES).content.count(b"Received:") == 60


def test_field_of_a_relay_that_was_folded_anew_stays() -> None:
    content = OURS.replace(b" (onionmx) with", b"\r\n\t(onionmx)\r\n\twith") + PLAIN + BODY
    assert scrubbed(content, NAMES).content == content


@pytest.mark.parametrize(
    ("listed", "kept"),
    [
        (b"from:subject", 0),
        (b"From : USER-agent", 1),
        (b"from:user-agent:\r\n\tuser-agent", 2),
        (b"user-agent:from:user-agent:user-agent", 3),
        (b"user-agent:user-agent:user-agent:user-agent", 3),  # signs that there is no fourth one
    ],
)
@pytest.mark.parametrize("name", [b"DKIM-Signature", b"ARC-Message-Signature", b"dkim-signature"])
def test_so_many_fields_from_below_are_signed_as_are_listed(name: bytes, listed: bytes, kept: int) -> None:
    agents = [b"User-Agent: %d\r\n" % number for number in range(3)]
    signature = (SIGNED % listed).replace(b"DKIM-Signature", name)
    found = scrubbed(agents[0] + signature + agents[1] + PLAIN + agents[2] + BODY, NAMES)
    assert found.removed == 3 - kept
    assert [field.raw for field in parse_header(split_header(found.content)[0]) if field.name == b"user-agent"] == (
        agents[3 - kept :]
    )


def test_trouble_has_no_word_of_the_sender() -> None:
    name = b"X-victim@example.org-DKIM-Signature"
    assert scrubbed(name + b": nothing\r\n" + AGENT + BODY, NAMES).trouble == "its dkim-signature is no list of tags"
    odd = b"bob@example.org-dkim0123456789-signature: h=a;h=b\r\n"
    assert scrubbed(odd + AGENT + BODY, NAMES).trouble == "its signature has 2 tags h=, expected one"


def test_each_signature_keeps_its_own() -> None:
    both = SIGNED % b"user-agent:user-agent" + SIGNED % b"x-originating-ip:user-agent"
    found = scrubbed(AGENT + ADDRESS + ADDRESS + AGENT + AGENT + both + BODY, NAMES)
    assert found.content == ADDRESS + AGENT + AGENT + both + BODY


@pytest.mark.parametrize(
    "signature",
    [
        b"DKIM-Signature: v=1; b=aa\r\n",
        b"DKIM-Signature: v=1; h=from; h=user-agent; b=aa\r\n",
        b"DKIM-Signature: v=1; h=from; H=user-agent; b=aa\r\n",
        b"DKIM-Signature: v=1; h=; b=aa\r\n",
        b"DKIM-Signature: v=1; h=from user-agent; b=aa\r\n",
        b"DKIM-Signature: v=1; h=from::user-agent; b=aa\r\n",
        b"DKIM-Signature: v=1; user-agent; h=from\r\n",
        b"DKIM-Signature:\r\n",
        b"DKIM2-Signature: i=1; s=aa\r\n",
        b"DomainKey-Signature: a=rsa-sha1; b=aa\r\n",  # without h= it signs all that follows
    ],
)
def test_signature_that_can_be_read_in_two_ways_keeps_everything(signature: bytes) -> None:
    content = AGENT + signature + PLAIN + BODY
    found = scrubbed(content, NAMES)
    assert found.content == content
    assert found.trouble.startswith(f"its {signature.partition(b':')[0].decode().lower()} ") or "h= of its" in (
        found.trouble
    )


@pytest.mark.parametrize(
    "line", [b"no field\r\n", b"User-Agent : x\r\n", b"X: a\nY: b\r\n", b"X: a\r\n \r\n", b"\x00\r\n"]
)
def test_header_that_is_none_keeps_everything(line: bytes) -> None:
    content = AGENT + PLAIN + line + BODY
    found = scrubbed(content, NAMES)
    assert found == (content, 0, found.trouble)
    assert "of the header begins no field" in found.trouble


def test_header_without_end_keeps_everything() -> None:
    content = AGENT + b"X: y\r\n" * (MOST_HEADER // 6)
    found = scrubbed(content, NAMES)
    assert found.content == content
    assert "more than" in found.trouble


def test_message_without_body_and_without_header() -> None:
    assert scrubbed(PLAIN + AGENT, NAMES).content == PLAIN
    assert scrubbed(BODY, NAMES).content == BODY
    assert scrubbed(b"", NAMES).content == b""


FIELDS = st.sampled_from(
    [INSIDE, AGENT, ADDRESS, PLAIN, OURS, SIGNED % b"from", SIGNED % b"from:user-agent:received:received"]
)
ODD = st.sampled_from([b"junk\r\n", b" folded\r\n", b"\n", b"\r", b"DKIM-Signature: v=1\r\n", b"a: \xff\r\n"])


@given(st.lists(FIELDS | ODD | st.binary(max_size=9)).map(b"".join), st.sampled_from([BODY, b"", b"\r\n", b"\r\nx"]))
def test_result_is_the_message_less_whole_fields_that_nobody_signed(header: bytes, body: bytes) -> None:
    content = header + body
    found = scrubbed(content, NAMES)
    if found.trouble or not found.removed:
        assert found.content == content
        return
    old, rest = split_header(content)
    new, new_rest = split_header(found.content)
    assert new_rest == rest
    before, after = parse_header(old), parse_header(new)
    assert len(after) == len(before) - found.removed
    assert not Counter(after) - Counter(before)
    assert _is_subsequence(after, before)
    gone = Counter(field.name for field in before) - Counter(field.name for field in after)
    assert gone.keys() <= NAMES
    for signature in (field for field in before if field.name == b"dkim-signature"):
        for name, count in Counter(re.sub(rb".*h=|;.*", b"", signature.value).split(b":")).items():
            assert _lowest(before, name, count) == _lowest(after, name, count)


@given(st.lists(FIELDS | ODD).map(b"".join))
def test_what_was_scrubbed_is_not_scrubbed_further(header: bytes) -> None:
    once = scrubbed(header + BODY, NAMES).content
    assert scrubbed(once, NAMES).content == once


@given(st.binary())
def test_any_bytes_are_answered(content: bytes) -> None:
    assert len(scrubbed(content, NAMES).content) <= len(content)


def _is_subsequence(some: list[Field], of: list[Field]) -> bool:
    rest = iter(of)
    return all(field in rest for field in some)


def _lowest(fields: list[Field], name: bytes, count: int) -> list[Field]:
    return [field for field in fields if field.name == name][-count:]


@pytest.fixture(scope="module")
def key() -> RSAPrivateKey:
    return generate_private_key(65537, 2048)


def _signed(content: bytes, key: RSAPrivateKey, names: list[bytes]) -> bytes:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    canonical = (b"simple", b"simple")  # the one that every change breaks
    signature: bytes = dkim.sign(content, b"x", b"example.org", pem, canonicalize=canonical, include_headers=names)
    return signature + content


def _is_valid(content: bytes, key: RSAPrivateKey) -> bool:
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    record = b"v=DKIM1; p=" + b"".join(public.splitlines()[1:-1])
    return bool(dkim.verify(content, dnsfunc=lambda *_args, **_more: record))


@pytest.mark.parametrize(
    ("names", "removed"),
    [
        ([b"from", b"subject"], 5),
        ([b"from", b"user-agent"], 4),
        ([b"from", b"user-agent", b"user-agent"], 3),
        ([b"from", b"user-agent", b"user-agent", b"user-agent", b"x-originating-ip", b"x-originating-ip"], 2),
    ],
)
def test_signature_is_valid_after_it(key: RSAPrivateKey, names: list[bytes], removed: int) -> None:
    """The signature is made and verified by dkimpy, and everything that is not signed goes."""
    content = INSIDE + AGENT + PLAIN + AGENT.replace(b"1", b"2") + ADDRESS + BODY
    message = INSIDE + _signed(content, key, names)  # one more host on the way
    assert _is_valid(message, key)
    found = scrubbed(message, NAMES)
    assert found.removed == removed
    assert _is_valid(found.content, key)


def test_removing_a_signed_field_would_have_broken_it(key: RSAPrivateKey) -> None:
    message = _signed(PLAIN + AGENT + BODY, key, [b"from", b"user-agent"])
    assert not _is_valid(message.replace(AGENT, b""), key)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("User Agent", "is not the name of a header field"),
        ("User-Agent:", "is not the name of a header field"),
        ("", "is not the name of a header field"),
        ("Bücher", "is not the name of a header field"),
        ("From", "cannot be read"),
        ("content-type", "cannot be read"),
        ("DKIM-Signature", "it is a signature"),
        ("X-Google-DKIM-Signature", "it is a signature"),
        ("ARC-Seal", "it is a signature"),
        ("Delivered-To", "mail loops"),
    ],
)
def test_what_a_message_needs_cannot_be_named(name: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"relay.scrub: .*{why}"):
        RelaySection(scrub=("User-Agent", name))
