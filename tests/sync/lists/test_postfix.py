import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.sync.lists.postfix import is_unread_by_postfix, postfix_recipient
from onionmx.sync.lists.recipient import LoggedRecipient
from tests.mapfile.maps import domains

REST = "delay=0.5, delays=0/0/0.2/0.3, dsn=2.0.0, status=sent (250 2.0.0 Ok: to=<x@example.net>, relay=y, status=z)"
RELAY = "relay=mx.example.org[192.0.2.1]:25"


def line(program: str, rest: str, prefix: str = "May  1 12:34:56 mail ") -> str:
    return f"{prefix}{program}[4711]: {rest}"


def read(text: str) -> LoggedRecipient | None:
    return postfix_recipient(text.encode())


@pytest.mark.parametrize(
    ("program", "start"),
    [
        ("postfix/smtp", f"4ABCDEF123: to=<user@example.org>, {RELAY}, "),
        ("postfix/smtp", f"4Vb7kQ2nXhz1Xy: to=<User@EXAMPLE.org>, {RELAY}, conn_use=2, "),
        ("postfix/smtp", f"4ABCDEF123: to=<user@example.org>, orig_to=<alias@own.example>, {RELAY}, "),
        ("postfix-out/smtp", f"4ABCDEF123: to=<user@example.org>, {RELAY}, "),
        ("postfix/relay/smtp", f"4ABCDEF123: to=<user@example.org>, {RELAY}, "),
        ("postfix/smtp", '4ABCDEF123: to=<"a b>"@example.org>, relay=mx[2001:db8::1]:25, '),
        ("postfix/onion/lmtp", "4ABCDEF123: to=<user@example.org>, relay=127.0.0.1[127.0.0.1]:10026, "),
        ("mta-out/smtp", f"4ABCDEF123: to=<user@example.org>, {RELAY}, "),
        ("transfer/smtp", f"4ABCDEF123: to=<user@example.org>, {RELAY}, "),
        ("postfix/smtptor/smtp", f"4ABCDEF123: to=<user@example.org>, relay={'a' * 56}.onion[127.192.0.7]:25, "),
    ],
)
def test_a_remote_recipient(program: str, start: str) -> None:
    assert read(line(program, start + REST)) == LoggedRecipient("example.org", is_final=True)


@pytest.mark.parametrize(
    "prefix",
    [
        "May  1 12:34:56 mail ",
        "2024-05-01T12:34:56.789012+02:00 mail ",
        "2024-05-01T12:34:56Z mail ",
        "<22>May 1 postfix1 ",
        "",
    ],
)
def test_every_timestamp(prefix: str) -> None:
    text = line("postfix/smtp", f"4ABCDEF123: to=<user@example.org>, {RELAY}, {REST}", prefix)
    assert read(text) == LoggedRecipient("example.org", is_final=True)


@pytest.mark.parametrize("structured", ["-", '[meta sequenceId="1"]'])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_syslog_of_rfc_5424(structured: str, mark: str) -> None:
    start = f"<22>1 2024-05-01T12:34:56.789012+02:00 mail postfix/smtp 4711 - {structured} {mark}"
    text = f"{start}4ABCDEF123: to=<user@example.org>, {RELAY}, {REST}"
    assert read(text) == LoggedRecipient("example.org", is_final=True)


@pytest.mark.parametrize("program", ["postfix/smtp", "postfix/lmtp", "mta-out/smtp"])
@pytest.mark.parametrize(
    ("reply", "is_final"),
    [
        ("sent (250 2.0.0 onion-mx said: queued)", True),
        ("bounced (host 127.0.0.1[127.0.0.1] said: 550 5.1.1 onion-mx said: no such user)", True),
        ("deferred (host 127.0.0.1[127.0.0.1] said: 451 4.2.1 onion-mx said: later)", False),
    ],
)
def test_what_went_through_the_relay_of_this_host(program: str, reply: str, *, is_final: bool) -> None:
    rest = f"4ABCDEF123: to=<user@example.org>, relay=127.0.0.1[127.0.0.1]:10025, delay=1, dsn=2.0.0, status={reply}"
    assert read(line(program, rest)) == LoggedRecipient("example.org", is_final=is_final)


@pytest.mark.parametrize(
    ("status", "is_final"),
    [
        ("sent", True),
        ("bounced", True),
        ("expired", True),
        ("deferred", False),
        ("deliverable", False),
        ("undeliverable", False),
    ],
)
def test_what_is_the_end(status: str, *, is_final: bool) -> None:
    text = f"4ABCDEF123: to=<user@example.org>, relay=none, delay=1, dsn=4.4.1, status={status} (connect to mx)"
    assert read(line("postfix/smtp", text)) == LoggedRecipient("example.org", is_final=is_final)


@pytest.mark.parametrize(
    ("program", "start"),
    [
        ("postfix/local", "4ABCDEF123: to=<me@own.example>, relay=local, "),
        ("postfix/virtual", "4ABCDEF123: to=<me@own.example>, relay=virtual, "),
        ("postfix/lmtp", "4ABCDEF123: to=<me@own.example>, relay=own.example[private/dovecot-lmtp], "),
        ("postfix/lmtp", "4ABCDEF123: to=<me@own.example>, relay=10.0.0.5[10.0.0.5]:24, "),
        ("postfix/pipe", "4ABCDEF123: to=<me@own.example>, relay=spamc, "),
        ("postfix/error", "4ABCDEF123: to=<user@example.org>, relay=none, "),
        ("postfix/smtp", "4ABCDEF123: to=<user@example.org>, relay=127.0.0.1[127.0.0.1]:10024, "),
        ("postfix/smtp", "4ABCDEF123: to=<user@example.org>, relay=localhost[::1]:10024, "),
        ("postfix/smtpd", f"NOQUEUE: reject: RCPT: to=<user@example.org>, {RELAY}, "),
        ("postfix/smtp", f"4ABCDEF123: to=<user>, {RELAY}, "),
        ("postfix/smtp", f"4ABCDEF123: to=<user@[192.0.2.1]>, {RELAY}, "),
        ("postfix/smtp", f"4ABCDEF123: to=<user@ex ample.org>, {RELAY}, "),
    ],
)
def test_everything_else(program: str, start: str) -> None:
    assert read(line(program, start + REST)) is None
    assert is_unread_by_postfix(line(program, start + REST).encode()) is ("NOQUEUE" in start)


DELIVERY = f"4ABCDEF123: to=<user@example.org>, {RELAY}, {REST}"


@pytest.mark.parametrize(
    "text",
    [
        line("dovecot", DELIVERY),
        line("mail", DELIVERY),
        DELIVERY,
        f'{{"SYSLOG_IDENTIFIER":"postfix/smtp","MESSAGE":"{DELIVERY}"}}',
        line("postfix/smtp", DELIVERY.replace("4ABCDEF123", "id")),
        line("postfix/smtp", DELIVERY.replace(" relay=", " via=")),
    ],
)
def test_delivery_in_a_form_that_is_not_known(text: str) -> None:
    assert read(text) is None
    assert is_unread_by_postfix(text.encode())


@pytest.mark.parametrize("words", ["status=sent", "to=<user@example.org>", "status=deferred (to=<a@example.org>)"])
def test_what_does_not_look_like_a_delivery(words: str) -> None:
    assert not is_unread_by_postfix(line("mail", words).encode())


def test_bytes_beyond_ascii() -> None:
    start = line("postfix/smtp", "4ABCDEF123: to=<").encode()
    rest = f">, {RELAY}, {REST}".encode()
    assert postfix_recipient(start + "ü@bücher.example".encode() + rest) == LoggedRecipient(
        "xn--bcher-kva.example", is_final=True
    )
    assert postfix_recipient(start + b"\xff\xfe@example.org" + rest) == LoggedRecipient("example.org", is_final=True)
    assert postfix_recipient(start + b"u@ex\xffample.org" + rest) is None


@given(domains, st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=30))
def test_the_domain_is_that_of_the_recipient(domain: str, local: str) -> None:
    text = line("postfix/smtp", f"4ABCDEF123: to=<{local}@{domain}>, {RELAY}, {REST}")
    found = read(text)
    if "." in domain and not domain.rpartition(".")[2].isdecimal() and ">" not in local:
        assert found == LoggedRecipient(domain, is_final=True)


@given(st.binary(max_size=300))
def test_any_line(tail: bytes) -> None:
    start = line("postfix/smtp", "").encode()
    for text in (tail, start + tail, start + b"4ABCDEF123: to=<" + tail):
        found = postfix_recipient(text)
        assert found is None or found.domain
        assert not (found and is_unread_by_postfix(text))


def test_a_long_line_costs_little() -> None:
    for junk in (">, orig_to=<" * 1300, "@" * 16000, ">, " * 5000):
        assert read(line("postfix/smtp", f"4ABCDEF123: to=<{junk}")) is None
