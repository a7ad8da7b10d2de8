"""`onionmx echo` as an MTA runs it, and `onionmx selftest` as a person does; without an MTA."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from onionmx.cli import main
from tests.echo.messages import ECHO, RECEIVED, SENDER, request
from tests.mapfile.maps import A, make_map

ONIONMX = Path(sys.executable).with_name("onionmx")


class Host:
    """A host with a map, a sendmail that keeps what it gets, and a mailbox."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        make_map(folder / "map.cdb", {"sender.example": ((A, 25),)})
        (folder / "pins").touch()
        (folder / "onionmx.toml").write_text(f'[map]\npath = "{folder}/map.cdb"\n[sync]\npins = "{folder}/pins"\n')
        self.sendmail = folder / "sendmail"
        self.program(f'echo "$@" >>{folder}/words\ncat >{folder}/message')

    def program(self, lines: str) -> None:
        self.sendmail.write_text(f"#!/bin/sh\n{lines}\n")
        self.sendmail.chmod(0o755)

    @property
    def words(self) -> list[str]:
        path = self.folder / "words"
        return path.read_text().splitlines() if path.exists() else []

    def echo(self, content: bytes, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        options = ["--config", f"{self.folder}/onionmx.toml", "--memory", f"{self.folder}/echo.json"]
        command = [str(ONIONMX), "echo", *options, "--sendmail", str(self.sendmail), *words]
        done = subprocess.run(command, input=content, capture_output=True, env=environment, check=False)
        return subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_in_a_pipe(host: Host) -> None:
    done = host.echo(request(), SENDER=SENDER, RECIPIENT=ECHO)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "answered: onion\n")
    assert host.words == [f"-oi -f  -- {SENDER}"]


def test_with_the_envelope_on_the_command_line(host: Host) -> None:
    done = host.echo(request(), "--sender", SENDER, "--recipient", ECHO)
    assert (done.returncode, len(host.words)) == (0, 1)
    done = host.echo(request(), "--sender", "", "--recipient", ECHO)
    assert (done.returncode, done.stderr) == (0, "no answer: the envelope sender is the null one\n")
    assert len(host.words) == 1


def test_a_message_without_end_is_read_to_its_end(host: Host) -> None:
    done = host.echo(request() + b"x" * 5_000_000, "--sender", SENDER, "--recipient", ECHO)
    assert (done.returncode, host.words) == (0, [])
    assert "larger than" in done.stderr


def test_trouble_is_temporary(host: Host) -> None:
    host.program("echo full >&2; exit 1")
    done = host.echo(request(), "--sender", SENDER, "--recipient", ECHO)
    assert (done.returncode, done.stderr) == (75, f"onionmx: {host.sendmail} ended with 1: full\n")
    (host.folder / "map.cdb").write_bytes(b"damaged")
    assert host.echo(request(), "--sender", SENDER, "--recipient", ECHO).returncode == 75


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--lmtp", "0.0.0.0:2525"], "--lmtp: 0.0.0.0:2525 is not an address of this host alone"),
        (["--lmtp", "nonsense"], "--lmtp: 'nonsense' is not an address"),
        (["--lmtp", "unix:relative"], "--lmtp: 'unix:relative' is not a unix socket"),
        (["--lmtp", "127.0.0.1:2525", "--sender", "a@b"], "--lmtp: the MTA gives sender and recipient"),
        (["--smtp", "192.0.2.1:25"], "--smtp: 192.0.2.1:25 is not an address of this host alone"),
        (["--smtp", "127.0.0.1:25", "--sendmail", "x"], "--sendmail and --smtp: give one of them"),
        (["--tor-address", "tor.example"], "--tor-address: 'tor.example' does not appear to be"),
        ([], "the address of the echo is not known"),
    ],
)
def test_what_cannot_be_meant(words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["echo", *words]) == 64
    assert capsys.readouterr().err.startswith(f"onionmx: {line}")


def echoing(host: Host, *received: str) -> None:
    """Have sendmail hand the message to the echo, whose answer goes to the mailbox."""
    (host.folder / "received").write_bytes("".join(f"{line}\n" for line in received).encode())
    box = host.folder / "box"
    (box / "new").mkdir(parents=True)
    deliver = host.folder / "deliver"
    deliver.write_text(f"#!/bin/sh\ncat >{box}/new/answer.$$\n")
    deliver.chmod(0o755)
    options = f"--config {host.folder}/onionmx.toml --memory {host.folder}/echo.json --sendmail {deliver}"
    host.program(f"cat {host.folder}/received - | {ONIONMX} echo {options} --sender {SENDER} --recipient {ECHO}")


def selftest(host: Host, *words: str) -> int:
    options = ["--from", SENDER, "--sendmail", str(host.sendmail), "--mailbox", str(host.folder / "box")]
    return main(["selftest", ECHO, *options, "--timeout", "120", *words])


def test_over_an_onion(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    echoing(host, *RECEIVED)
    assert selftest(host) == 0
    output = capsys.readouterr().out
    assert output.startswith("message: over an onion: receiver.example had it from sender.example by way of tor")
    assert "dkim: the other host says nothing of it" in output
    assert "from sender.example [127.0.0.1] by receiver.example, esmtps, TLS1.3" in output


def test_over_the_clearnet_and_for_programs(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    echoing(host, RECEIVED[0].replace("127.0.0.1", "8.8.8.8"), RECEIVED[1])
    assert selftest(host, "--json", "--remove") == 3
    report = json.loads(capsys.readouterr().out)
    assert (report["way"], report["exit_code"], report["dkim"]) == ("clearnet", 3, [])
    assert report["hops"][1]["time"] == "2026-11-29T07:00:02+00:00"
    assert report["answer"] == {"way": "unknown", "hops": []}
    assert list((host.folder / "box" / "new").iterdir()) == []


def test_no_answer(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    assert selftest(host, "--timeout", "1") == 75
    assert capsys.readouterr().out.startswith(f"{ECHO}: no answer: there is no answer in the mailbox after 1 s\n")
    assert selftest(host, "--timeout", "1", "--json") == 75
    assert json.loads(capsys.readouterr().out)["way"] is None


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["nobody"], "'nobody' is not an address that can be tested with: expected NAME@DOMAIN"),
        ([ECHO, "--from", "x"], "'x' is not an address"),
        ([ECHO, "--smtp", "127.0.0.1:25"], "--smtp: give --from too"),
        ([ECHO, "--smtp", "127.0.0.1:25", "--from", SENDER, "--sendmail", "x"], "--sendmail and --smtp"),
        ([ECHO, "--remove", "--mailbox", "/nonexistent/mbox"], "--remove: give the path of a Maildir"),
    ],
)
def test_selftests_that_cannot_be_meant(words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["selftest", *words]) == 64
    assert capsys.readouterr().err.startswith(f"onionmx: {line}")


def test_an_mta_that_does_not_take_it(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.program("exit 75")
    assert selftest(host) == 75
    assert "ended with 75" in capsys.readouterr().err


def test_a_user_without_a_name_has_no_mailbox(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("onionmx.cli.selftest.geteuid", lambda: 54321)
    assert main(["selftest", ECHO]) == 64
    assert capsys.readouterr().err.startswith("onionmx: user 54321 has no name here")
