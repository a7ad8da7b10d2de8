"""The reader of the documents: what it takes for a step."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.acceptance.documents import DocumentError, Kind, Step, replace, section, steps

TEXT = """\
# Title

## Send

tor, in `/etc/tor/torrc`: `SocksPort 9050`. It says `why`.

Then `onionmx sync /list`, and `postfix reload`, once. A new `table` later needs no `reload`.

1. A transport:

In `/etc/postfix/master.cf`:

    onion unix
      -o a=b

    more

As root:

    cp -r exim/conf.d/. /etc/
    rm x

It shows:

    $ postmap -q x

### Deeper

In `torrc`:

    Line

## Receive

Nothing.
"""


def test_steps() -> None:
    assert steps(section(TEXT, "Send")) == [
        Step(Kind.FILE, "SocksPort 9050\n", "/etc/tor/torrc"),
        Step(Kind.SHELL, "onionmx sync /list\n"),
        Step(Kind.SHELL, "postfix reload\n"),
        Step(Kind.FILE, "onion unix\n  -o a=b\n\nmore\n", "/etc/postfix/master.cf"),
        Step(Kind.SHELL, "cp -r exim/conf.d/. /etc/\nrm x\n"),
        Step(Kind.SHOWN, "$ postmap -q x\n"),
        Step(Kind.FILE, "Line\n", "/etc/tor/torrc"),
    ]
    assert steps(section(TEXT, "Send", "Deeper"), ["Line"]) == []
    assert steps(section(TEXT, "Receive")) == []


def test_what_is_not_there() -> None:
    with pytest.raises(DocumentError, match="no heading"):
        section(TEXT, "Nowhere")
    with pytest.raises(DocumentError, match="no heading"):
        section(TEXT, "Receive", "Deeper")
    with pytest.raises(DocumentError, match="0 steps"):
        steps(TEXT, ["nowhere"])
    with pytest.raises(DocumentError, match="nothing mentions"):
        replace(TEXT, {"nowhere": "x"})


PIECES = [*TEXT.splitlines(), "", "    x", "in `/a`:", "Then `a`", "`"]


@given(st.lists(st.sampled_from(PIECES)).map("\n".join))
def test_whatever_comes_in(text: str) -> None:
    for step in steps(text):
        assert step.text.endswith("\n")
        assert bool(step.file) == (step.kind is Kind.FILE)
    try:
        section(text, "Send")
    except DocumentError:
        assert "## Send\n" not in text
