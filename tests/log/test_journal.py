"""The journal's own protocol, and Debian's journald as its reader."""

import json
import logging
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.config import Configuration, LogSection, RelaySection
from onionmx.log import fields
from onionmx.log.handlers import begin_log, use_log
from onionmx.log.journal import JournalHandler, encoded
from tests.small_disk import with_own_mounts

JOURNALD = "/lib/systemd/systemd-journald"
JOURNALD_OF_OUR_OWN = f"""
set -e
mount -t tmpfs none /run
mkdir -p /run/systemd/journal /run/systemd/journald.conf.d /run/log
printf '[Journal]\\nAudit=off\\nReadKMsg=no\\n' >/run/systemd/journald.conf.d/test.conf
{JOURNALD} >&2 & journald=$!
trap 'kill $journald; wait $journald || :' EXIT
until [ -S /run/systemd/journal/socket ]; do kill -0 $journald; sleep 0.02; done
"$@" >&2
journalctl --directory=/run/log/journal --sync >&2 || :
journalctl --directory=/run/log/journal --no-pager --output=json --all -t onionmx
"""
PROGRAM = """
import logging
from onionmx.config import Configuration, LogSection
from onionmx.log import fields
from onionmx.log.handlers import begin_log, use_log
begin_log(is_verbose=False)
use_log(Configuration(log=LogSection(format="journald")))
logger = logging.getLogger("onionmx.mail")
logger.warning("one\\nPRIORITY=0", extra=fields("refused", domain="example.org", connect=0.5, reply="a\\nb"))
try:
    raise ValueError("x" * 500_000)
except ValueError:
    logger.exception("internal error")
"""


def decoded(datagram: bytes) -> list[tuple[str, str]]:
    """The fields of an entry, read as the specification has it."""
    found = []
    while datagram:
        line, _, rest = datagram.partition(b"\n")
        name, is_short, value = line.partition(b"=")
        if not is_short:
            length = int.from_bytes(rest[:8], "little")
            value, rest = rest[8 : 8 + length], rest[8 + length :]
            assert rest[:1] == b"\n"
            rest = rest[1:]
        found.append((name.decode(), value.decode()))
        datagram = rest
    return found


@given(st.lists(st.tuples(st.sampled_from(["MESSAGE", "ONIONMX_A1"]), st.text())))
def test_any_fields(entry: list[tuple[str, str]]) -> None:
    assert decoded(encoded(entry)) == entry


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[socket.socket]:
    """A socket in the place of the journal's."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.settimeout(60)
        listening.bind(str(tmp_path / "journal"))
        yield listening


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> logging.Logger:
    """The logger of a daemon, in a process where the controllers of other tests' Tor network say nothing meanwhile."""
    monkeypatch.setattr(logging.getLogger("stem"), "disabled", True)
    return logging.getLogger("onionmx")


def configured(name: str, level: str = "info", *, with_addresses: bool = False) -> Configuration:
    return Configuration(
        log=LogSection(format=name, level=level),  # type: ignore[arg-type]
        relay=RelaySection(log_addresses=with_addresses),
    )


def test_a_reload_changes_format_and_level(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, journal: socket.socket, log: logging.Logger
) -> None:
    begin_log(is_verbose=False)
    log.info("as text")
    use_log(configured("json", "warning"))
    log.info("not at this level")
    log.warning("as JSON of <bob@example.org>")
    use_log(configured("journald", with_addresses=True), tmp_path / "journal")
    log.info("<bob@example.org>", extra=fields("refused", reply="550 <bob@example.org>"))
    text, as_json = capfd.readouterr().err.splitlines()
    assert text == "INFO onionmx: as text"
    assert json.loads(as_json)["message"] == "as JSON of <...@example.org>"
    entry = dict(decoded(journal.recv(65536)))
    assert entry == {
        "MESSAGE": "<bob@example.org>",
        "PRIORITY": "6",
        "SYSLOG_IDENTIFIER": "onionmx",
        "LOGGER": "onionmx",
        "ONIONMX_EVENT": "refused",
        "ONIONMX_REPLY": "550 <bob@example.org>",
    }


def test_without_a_journal_it_goes_to_standard_error(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, log: logging.Logger
) -> None:
    begin_log(is_verbose=False)
    use_log(configured("journald"), tmp_path / "none")
    log.error("lost?")
    told, kept = capfd.readouterr().err.splitlines()
    assert "cannot be reached (No such file or directory): the log goes to standard error as text" in told
    assert kept == "ERROR onionmx: lost?"


def test_a_journal_that_is_slow_or_goes_away_holds_nothing_up(
    tmp_path: Path, journal: socket.socket, capfd: pytest.CaptureFixture[str]
) -> None:
    handler = JournalHandler(tmp_path / "journal", with_addresses=False)
    record = logging.LogRecord("onionmx", logging.ERROR, "x.py", 1, "kept", (), None)
    for _ in range(100_000):
        handler.emit(record)
        if said := capfd.readouterr().err:
            break
    assert said == "ERROR onionmx: kept\n"  # its queue is full
    journal.close()
    (tmp_path / "journal").unlink()
    handler.emit(record)
    assert capfd.readouterr().err == "ERROR onionmx: kept\n"
    handler.close()


def test_debians_journald_takes_each_event_as_one_entry() -> None:
    own = ["unshare", "--map-root-user", "--mount", "--"]
    if subprocess.run([*own, "true"], capture_output=True, check=False).returncode:
        own = with_own_mounts()  # a chroot
    command = [*own, "sh", "-c", JOURNALD_OF_OUR_OWN, "sh", sys.executable, "-c", PROGRAM]
    assert shutil.which(JOURNALD), "tests/setup_debian.sh installs systemd"
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    entries = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(entries) == 2, done.stderr[-4000:]
    refused, error = entries
    assert {name: value for name, value in refused.items() if not name.startswith("_")} == {
        "MESSAGE": "one; PRIORITY=0",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "onionmx",
        "LOGGER": "onionmx.mail",
        "ONIONMX_EVENT": "refused",
        "ONIONMX_DOMAIN": "example.org",
        "ONIONMX_CONNECT": "0.5",
        "ONIONMX_REPLY": "a\nb",
    }
    assert error["PRIORITY"] == "3"
    lines = error["MESSAGE"].split("\n")
    assert lines[0] == "internal error"
    assert lines[-1] == "    ValueError: " + "x" * 500_000
