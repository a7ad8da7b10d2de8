"""The log: nobody but onionmx writes a line of it."""

import logging
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from onionmx.cli.log import EscapingFormatter


def formatted(message: str, error: Exception | None = None) -> list[str]:
    info = (type(error), error, None) if error else None
    record = logging.LogRecord("onionmx.mail", logging.WARNING, "x.py", 1, "%s", (message,), info)
    return EscapingFormatter("%(levelname)s %(name)s: %(message)s").format(record).split("\n")


@given(st.text(), st.none() | st.builds(ValueError, st.text()))
def test_any_text(text: str, error: Exception | None) -> None:
    first, *rest = formatted(text, error)
    assert first.startswith("WARNING onionmx.mail: ")
    assert all(line.startswith("    ") for line in rest)
    assert all(line.isprintable() for line in (first, *rest))


def test_a_forged_line_is_seen_for_what_it_is() -> None:
    lines = formatted("reply=550 \u202eno\nINFO onionmx.mail: delivered\u2028x", ValueError("x\nINFO y"))
    assert lines[:2] == [r"WARNING onionmx.mail: reply=550 \u202eno", r"    INFO onionmx.mail: delivered\u2028x"]
    assert lines[-1] == "    INFO y"


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
