"""The log: nobody but onionmx writes a line of it, one event is one line, and addresses stay out."""

import json
import logging
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.log import fields
from onionmx.log.fields import without_addresses
from onionmx.log.formats import EscapingFormatter, JsonFormatter, TextFormatter
from onionmx.onion import Endpoint
from onionmx.relay import maillog
from onionmx.smtp.reply import Reply
from tests.onions import V3_ONION

TARGET: Endpoint = (V3_ONION, 25)
FAULTS = st.none() | st.builds(ValueError, st.text())


def record(message: str, error: Exception | None = None, **extra: object) -> logging.LogRecord:
    info = (type(error), error, None) if error else None
    made = logging.LogRecord("onionmx.mail", logging.WARNING, "x.py", 1, "%s", (message,), info)
    vars(made).update(extra)
    return made


def formatted(message: str, error: Exception | None = None) -> list[str]:
    return EscapingFormatter("%(levelname)s %(name)s: %(message)s").format(record(message, error)).split("\n")


@given(st.text(), FAULTS)
def test_any_text(text: str, error: Exception | None) -> None:
    first, *rest = formatted(text, error)
    assert first.startswith("WARNING onionmx.mail: ")
    assert all(line.startswith("    ") for line in rest)
    assert all(line.isprintable() for line in (first, *rest))


@given(st.text(), FAULTS)
def test_of_daemons_one_line_unless_there_is_a_traceback(text: str, error: Exception | None) -> None:
    first, *rest = TextFormatter(with_addresses=True).format(record(text, error)).split("\n")
    assert first.startswith("WARNING onionmx.mail: ")
    assert all(line.startswith("    ") and line.isprintable() for line in rest)
    assert bool(rest) == (error is not None)


@given(st.text(), FAULTS, st.text())
def test_json_is_one_line_whatever_it_holds(text: str, error: Exception | None, value: str) -> None:
    extra = fields("refused", reply=value, connect=0.5)
    line = JsonFormatter(with_addresses=True).format(record(text, error, **extra))
    assert line.isascii()
    assert line.isprintable()
    read = json.loads(line)
    assert (read["message"], read["reply"], read["level"]) == (text, value, "warning")
    assert (read["event"], read["connect"], read["logger"]) == ("refused", 0.5, "onionmx.mail")
    assert ("traceback" in read) == (error is not None)


def test_a_forged_line_is_seen_for_what_it_is() -> None:
    lines = formatted("reply=550 \u202eno\nINFO onionmx.mail: delivered\u2028x", ValueError("x\nINFO y"))
    assert lines[:2] == [r"WARNING onionmx.mail: reply=550 \u202eno", r"    INFO onionmx.mail: delivered\u2028x"]
    assert lines[-1] == "    INFO y"


@pytest.mark.parametrize(
    ("said", "logged"),
    [
        ("550 <Bob.B+x@example.org>: unknown", "550 <...@example.org>: unknown"),
        ('550 "bob b"@example.org unknown', "550 ...@example.org unknown"),
        ("550 bob@[192.0.2.1], carol@localhost", "550 ...@[192.0.2.1], ...@localhost"),
        ("550 müller@bücher.example", "550 ...@bücher.example"),
        ('550 "a\\"b"@example.org', "550 ...@example.org"),
        ("550 o'brien@example.org", "550 ...@example.org"),
        ("a@b@c.example", "...@...@c.example"),
        ("systemctl restart tor@default", "systemctl restart tor@default"),
        ("@ and a @ b", "@ and a @ b"),
    ],
)
def test_addresses_are_left_out(said: str, logged: str) -> None:
    assert without_addresses(said) == logged


@given(st.text(), st.sampled_from(["bob", "b.o-b+1", '"b b"', "b=x"]), st.sampled_from(["example.org", "[::1]", "x"]))
def test_no_local_part_is_left_in_any_text(text: str, local: str, domain: str) -> None:
    assert f"{local}@{domain}" not in without_addresses(f"{text} <{local}@{domain}>")


@pytest.mark.parametrize("piece", ["a", '"', '"\\\\', '@"', '\\"@a', "a@"])
def test_a_long_text_is_soon_searched(piece: str) -> None:
    text = piece * 100_000 + " @"
    start = time.process_time()
    without_addresses(text)
    assert time.process_time() - start < 20  # it would be hours


@pytest.mark.parametrize("formatter", [TextFormatter, JsonFormatter])
def test_mail_log_tells_no_address_unless_asked(
    caplog: pytest.LogCaptureFixture, formatter: type[TextFormatter | JsonFormatter]
) -> None:
    reply = Reply(550, "5.1.1", ("onion-mx said: <bob@example.org>: Recipient address rejected",))
    with caplog.at_level(logging.INFO):
        maillog.delivered("62f0e65ace", "example.org", TARGET, reply, {"session": "new", "connect": 2.1})
        maillog.target_failed("62f0e65ace", "example.org", TARGET, "it said <bob@example.org>")
        maillog.failed("62f0e65ace", "example.org", ValueError("bob@example.org"))
    for each in caplog.records:
        assert "bob" not in formatter(with_addresses=False).format(each)
        assert "bob@example.org" in formatter(with_addresses=True).format(each)


def test_fields_of_the_mail_log_have_the_names_of_the_text(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        maillog.delivered("62f0e65ace", "example.org", TARGET, Reply(250), {"session": "new", "connect": 2.1})
        maillog.addresses("62f0e65ace", "a@a.test", ["b@b.test", "\udcff@b.test"])
    delivered, addresses = (json.loads(JsonFormatter(with_addresses=True).format(each)) for each in caplog.records)
    assert {name: delivered[name] for name in ("event", "id", "domain", "session", "connect", "level")} == {
        "event": "delivered",
        "id": "62f0e65ace",
        "domain": "example.org",
        "session": "new",
        "connect": 2.1,
        "level": "info",
    }
    for name in ("to", "reply", "session"):
        assert f"{name}={delivered[name]}" in delivered["message"]
    assert (addresses["sender"], addresses["recipients"]) == ("<a@a.test>", r"<b@b.test>,<\udcff@b.test>")


def test_of_commands_too() -> None:
    program = (
        "import sys, logging, click\nfrom onionmx.cli import main\n"
        "def look(*_, **__):\n"
        " logging.getLogger('onionmx.x').error('\\u202e\\nsecond')\n"
        " raise ValueError('\\u202e\\u2028')\n"
        "click.Command.invoke = look\nsys.exit(main(['lookup', 'example.org']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 75
    first, second, third = done.stderr.splitlines()
    assert (first, second) == (r"onionmx: \u202e", "    second")
    assert third.startswith(r"onionmx: internal error: ValueError: \u202e")
