"""What nobody has foreseen stays with what has brought it up."""

import asyncio

import pytest

from onionmx.errors import DnsError
from onionmx.isolation import UnforeseenError, isolated


class PanicError(BaseException):
    """As `cryptography` raises one that is no `Exception`."""


FAULTS = [ValueError("x"), UnicodeError("label too long"), RecursionError(), OSError(5, "x"), PanicError("x")]


@pytest.mark.parametrize("fault", [*FAULTS, ExceptionGroup("two", [ValueError("x"), KeyError("y")])])
def test_a_fault_becomes_could_not_tell(fault: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(UnforeseenError, match=type(fault).__name__), isolated("evil.example"):
        raise fault
    assert "evil.example" in caplog.text
    assert "Traceback" in caplog.text


@pytest.mark.parametrize(
    "end",
    [
        DnsError("foreseen"),
        MemoryError(),
        KeyboardInterrupt(),
        SystemExit(3),
        asyncio.CancelledError(),
        BaseExceptionGroup("both", [ValueError("x"), KeyboardInterrupt()]),
    ],
)
def test_what_is_foreseen_or_ends_the_program_goes_on(end: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(type(end)), isolated("evil.example"):
        raise end
    assert not caplog.text
