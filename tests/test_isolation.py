"""What comes up at one of many things stays with it."""

import asyncio

import pytest

from onionmx.errors import (
    AutomapError,
    ConfigurationError,
    ControlError,
    DnsError,
    DomainError,
    OnionError,
    OnionmxError,
    OwnerError,
    StateError,
    UsageError,
)
from onionmx.isolation import OneFailedError, UnforeseenError, isolated, one_of_many


class PanicError(BaseException):
    """As `cryptography` raises one that is no `Exception`."""


FAULTS = [ValueError("x"), UnicodeError("label too long"), RecursionError(), OSError(5, "x"), PanicError("x")]
UNCAUGHT = [DomainError("x"), OnionError("x"), UsageError("x"), OnionmxError("x")]
OF_ONE = [DnsError("x"), OwnerError("x"), ControlError("x"), AutomapError("x")]
OF_THE_RUN = [ConfigurationError("x"), StateError("x")]
ENDS = [
    MemoryError(),
    KeyboardInterrupt(),
    SystemExit(3),
    asyncio.CancelledError(),
    BaseExceptionGroup("both", [ValueError("x"), KeyboardInterrupt()]),
]


@pytest.mark.parametrize("fault", [*FAULTS, *UNCAUGHT, ExceptionGroup("two", [ValueError("x"), KeyError("y")])])
def test_a_fault_becomes_could_not_tell(fault: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(UnforeseenError, match=type(fault).__name__), isolated("evil.example"):
        raise fault
    assert "evil.example" in caplog.text
    assert "Traceback" in caplog.text
    with pytest.raises(OneFailedError, match=type(fault).__name__), one_of_many("evil.example"):
        raise fault


@pytest.mark.parametrize("end", [*OF_ONE, *OF_THE_RUN, *ENDS])
def test_what_is_foreseen_or_ends_the_program_goes_on(end: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(type(end)), isolated("evil.example"):
        raise end
    assert not caplog.text


@pytest.mark.parametrize("fault", OF_ONE)
def test_what_is_foreseen_of_one_ends_no_run(fault: OnionmxError, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(OneFailedError, match=r"^x$"), one_of_many("evil.example"):
        raise fault
    assert not caplog.text


@pytest.mark.parametrize("end", [*OF_THE_RUN, *ENDS])
def test_fault_of_the_run_ends_it(end: BaseException) -> None:
    with pytest.raises(type(end)), one_of_many("evil.example"):
        raise end
