import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.smtp.extensions import Extensions, read_extensions
from onionmx.smtp.reply import Reply


def read(*lines: str) -> Extensions:
    return read_extensions(Reply(250, "", lines))


def test_exim() -> None:
    lines = (
        "mx.example Hello client.example [127.0.0.1]|SIZE 52428800|8BITMIME|PIPELINING|PIPECONNECT|CHUNKING|PRDR|HELP"
    )
    assert read(*lines.split("|")) == Extensions(
        "mx.example", pipelining=True, chunking=True, size=52428800, eight_bit_mime=True, pipe_connect=True
    )


def test_postfix() -> None:
    lines = "mx.example|PIPELINING|SIZE 10240000|VRFY|ETRN|STARTTLS|ENHANCEDSTATUSCODES|8BITMIME|DSN|SMTPUTF8|CHUNKING"
    assert read(*lines.split("|")) == Extensions(
        "mx.example",
        pipelining=True,
        chunking=True,
        size=10240000,
        eight_bit_mime=True,
        smtputf8=True,
        dsn=True,
        starttls=True,
        enhanced_status_codes=True,
    )


@pytest.mark.parametrize("line", ["pipelining", "Pipelining ", "  PIPELINING", "PIPELINING\t", "PIPELINING=yes"])
def test_odd_spelling(line: str) -> None:
    assert read("mx", line).pipelining


@pytest.mark.parametrize("line", ["", "PIPELINING2", "X-PIPELINING", "PIPE LINING", "-PIPELINING", "250-PIPELINING"])
def test_something_else(line: str) -> None:
    assert read("mx", line) == Extensions("mx")


def test_the_first_line_offers_nothing() -> None:
    assert read("PIPELINING CHUNKING") == Extensions("PIPELINING")
    assert read("") == Extensions()


@pytest.mark.parametrize(
    ("lines", "size"),
    [
        ([], None),
        (["SIZE"], 0),
        (["SIZE 0"], 0),
        (["SIZE 1000"], 1000),
        (["size=1000"], 1000),
        (["SIZE  1000 "], 1000),
        (["SIZE -1"], 0),
        (["SIZE many"], 0),
        (["SIZE \u0661\u0660"], 0),
        (["SIZE " + "9" * 21], 0),
        (["SIZE 2000", "SIZE 1000", "SIZE"], 1000),
    ],
)
def test_size(lines: list[str], size: int | None) -> None:
    assert read("mx", *lines).size == size


def test_one_flight_takes_both() -> None:
    assert read("mx", "PIPELINING", "CHUNKING").one_flight
    assert not read("mx", "PIPELINING").one_flight
    assert not read("mx", "CHUNKING").one_flight


@pytest.mark.parametrize(
    ("lines", "limits"),
    [
        ([], (None, None, None)),
        (["LIMITS"], (None, None, None)),
        (["LIMITS MAILMAX=20 RCPTMAX=100 RCPTDOMAINMAX=1"], (20, 100, 1)),
        (["limits mailmax=20"], (20, None, None)),
        (["LIMITS MAILMAX=0 RCPTMAX=1000000 RCPTDOMAINMAX=-1"], (None, None, None)),
        (["LIMITS MAILMAX=many OTHER=3 =5 RCPTMAX"], (None, None, None)),
        (["LIMITS MAILMAX=20", "LIMITS MAILMAX=10 MAILMAX=30"], (10, None, None)),
        (["LIMITS MAILMAX=\u0661\u0660"], (None, None, None)),
    ],
)
def test_limits(lines: list[str], limits: tuple[int | None, int | None, int | None]) -> None:
    found = read("mx", *lines)
    assert (found.mail_max, found.rcpt_max, found.rcpt_domain_max) == limits


@given(st.text())
def test_whatever_is_behind_limits(text: str) -> None:
    found = read("mx", f"LIMITS {text}")
    for limit in (found.mail_max, found.rcpt_max, found.rcpt_domain_max):
        assert limit is None or 0 < limit < 1_000_000
