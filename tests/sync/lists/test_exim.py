import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.sync.lists.exim import exim_recipient, is_unread_by_exim
from onionmx.sync.lists.recipient import LoggedRecipient
from tests.mapfile.maps import domains

ID = "1s2Abc-0001Xy-2z"
REMOTE = "R=dnslookup T=remote_smtp"
HOST = "H=mx.example.org [192.0.2.1]"
STAMP = "2024-05-01 12:34:56"


def read(line: str) -> LoggedRecipient | None:
    return exim_recipient(line.encode())


@pytest.mark.parametrize(
    "rest",
    [
        f'=> user@example.org {REMOTE} {HOST} X=TLS1.3 CV=yes C="250 OK => x@example.net R=a T=b" QT=1s DT=1s',
        f"=> User@EXAMPLE.org {REMOTE} {HOST}:25 I=[192.0.2.2]:40000",
        f"-> user@example.org {REMOTE} {HOST}",
        f">> user@example.org {REMOTE} {HOST}",
        f"=> user@example.org <alias@own.example> {REMOTE} {HOST}",
        f"=> user@example.org F=<me@own.example> P=<me@own.example> {REMOTE} S=1234 {HOST}",
        f'=> "a \\"T=b\\" @ c"@example.org {REMOTE} {HOST}',
        f"=> user@example.org {REMOTE} H=mx.example.org (helo) [2001:db8::1]",
        f"** user@example.org {REMOTE} {HOST}: SMTP error from remote mail server after RCPT TO: 550 no",
        f"** user@example.org {REMOTE}: retry timeout exceeded",
        "=> user@example.org R=onionmx T=onionmx_relay H=127.0.0.1 [127.0.0.1]:10026",
        '=> user@example.org R=out T=to_relay H=127.0.0.1 [127.0.0.1]:10025 C="250 2.0.0 onion-mx said: queued"',
        "=> user@example.org R=onionmx T=onionmx_smtp H=10.192.0.7 [10.192.0.7]",
        f"=> user@example.org R=manual T=smtptor H={'a' * 56}.onion [127.192.0.7]",
    ],
)
def test_a_remote_recipient(rest: str) -> None:
    assert read(f"{STAMP} {ID} {rest}\n") == LoggedRecipient("example.org", is_final=True)


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "2024-05-01 12:34:56.789 ",
        "2024-05-01 12:34:56 +0200 [4711] ",
        "May  1 12:34:56 mail exim[4711]: ",
        "May  1 12:34:56 mail exim[4711]: [1/2] 2024-05-01 12:34:56 ",
        "2024-05-01T12:34:56.789012+02:00 mail exim4[4711]: ",
        "<22>1 2024-05-01T12:34:56Z mail-1-2 exim 4711 - - ",
    ],
)
@pytest.mark.parametrize("message_id", [ID, "1s2Abc-00000001XyZ-2zAb"])
def test_every_way_to_the_log(prefix: str, message_id: str) -> None:
    assert read(f"{prefix}{message_id} => u@example.org {REMOTE} {HOST}") == LoggedRecipient(
        "example.org", is_final=True
    )


def test_a_deferral_is_not_the_end() -> None:
    line = f"{STAMP} {ID} == user@example.org {REMOTE} defer (-53): retry time not reached for any host"
    assert read(line) == LoggedRecipient("example.org", is_final=False)


@pytest.mark.parametrize("name", ["bücher.example", r"b\303\274cher.example", r"b\303\274cher.EXAMPLE"])
def test_a_domain_beyond_ascii(name: str) -> None:
    line = f"{STAMP} {ID} => user@{name} {REMOTE} {HOST}"
    assert read(line) == LoggedRecipient("xn--bcher-kva.example", is_final=True)


@pytest.mark.parametrize(
    "rest",
    [
        "=> me <me@own.example> R=local_user T=mail_spool",
        "=> /var/mail/me@own.example/inbox <me@own.example> R=local_user T=address_file",
        "=> |/usr/bin/filter@own.example <me@own.example> R=userforward T=address_pipe",
        "=> me@own.example R=dovecot T=dovecot_lmtp H=10.0.0.5 [10.0.0.5]",
        "=> me@own.example R=virtual T=dovecot_delivery",
        "== me@own.example R=local_user T=mail_spool defer (-52): quota",
        "** me@own.example R=virtual T=maildir_home: no space",
        "=> user@example.org R=amavis T=amavis H=localhost [127.0.0.1]:10024",
        "=> user@example.org R=amavis T=amavis H=localhost [::1]:10024",
        "** user@example.org: Unrouteable address",
        f"*> user@example.org {REMOTE} {HOST}",
        f'<= me@own.example H=a [192.0.2.1] P=esmtp S=1 T="{ID} => u@example.org {REMOTE} {HOST}"',
        f"=> user@host {REMOTE} {HOST}",
        f"=> user@[192.0.2.1] {REMOTE} {HOST}",
        f"=> user@192.0.2.1 {REMOTE} {HOST}",
        f"=> user@{'a' * 56}.onion {REMOTE} {HOST}",
        f"=> user@-example-.org {REMOTE} {HOST}",
        "Completed QT=1s T=x",
    ],
)
def test_everything_else(rest: str) -> None:
    assert read(f"{STAMP} {ID} {rest}") is None
    assert not is_unread_by_exim(f"{STAMP} {ID} {rest}".encode())


@pytest.mark.parametrize(
    "line",
    [
        f"{STAMP} => user@example.org {REMOTE} {HOST}",
        f"{STAMP} 1s2Abc-0001Xy-2zzzz => user@example.org {REMOTE} {HOST}",
        f"{STAMP} msg=1s2Abc.0001 -> user@example.org {REMOTE} {HOST}",
        f"{STAMP} {ID} => <user@example.org> {REMOTE} {HOST}",
        f"{STAMP} {ID} => user {REMOTE} {HOST}",
    ],
)
def test_delivery_in_a_form_that_is_not_known(line: str) -> None:
    assert read(line) is None
    assert is_unread_by_exim(line.encode())


@pytest.mark.parametrize("line", ["", "a => b", f"{ID} => ", "amavis: <a@b.example> -> <c@d.example>"])
def test_what_does_not_look_like_a_delivery(line: str) -> None:
    assert not is_unread_by_exim(f"{STAMP} {line}".encode())


def test_broken_bytes() -> None:
    assert exim_recipient(f"{STAMP} {ID} => u@ex\udcffample.org T=x {HOST}".encode("utf-8", "surrogateescape")) is None
    line = f"{STAMP} {ID} => \udcff\udcfe@example.org T=x {HOST}".encode("utf-8", "surrogateescape")
    assert exim_recipient(line) == LoggedRecipient("example.org", is_final=True)


@given(domains, st.sampled_from(["=>", "->", ">>", "==", "**"]), st.text("\"\\abc'+.", max_size=20))
def test_the_domain_is_that_of_the_recipient(domain: str, arrow: str, local: str) -> None:
    found = read(f"{STAMP} {ID} {arrow} {local}@{domain} {REMOTE} {HOST}")
    assert found is None or found == LoggedRecipient(domain, is_final=arrow != "==")


@given(st.binary(max_size=300))
def test_any_line(tail: bytes) -> None:
    for start in (b"", f"{STAMP} {ID} => ".encode(), f"{STAMP} {ID} => u@example.org T=x H=".encode()):
        found = exim_recipient(start + tail)
        assert found is None or b"@" in start + tail
        assert not (found and is_unread_by_exim(start + tail))


def test_a_long_line_costs_little() -> None:
    for junk in ('"\\' * 8000, "a@" * 8000, f" T=x {HOST}" * 400, f"{ID} " * 900):
        assert read(f"{STAMP} {ID} => {junk}") is None or junk
        assert not is_unread_by_exim(f"{STAMP} => {junk}".encode()) or " T=" in junk
