"""Lists that must be signed, with the real ssh-keygen."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.errors import EXIT_CONFIGURATION, EXIT_TEMPORARY, ConfigurationError, TemporaryError
from onionmx.sync.lists.signature import SignedList, check_serials, check_signature, signed_as
from tests.sync.lists.signers import Key

CONTENT = b"# serial: 7\nexample.org\n"


class Place:
    """A list and those who may sign it."""

    def __init__(self, folder: Path) -> None:
        self.list = folder / "domains"
        self.allowed = folder / "allowed_signers"
        self.signers = {str(self.list): str(self.allowed)}
        self.alice, self.mallory = Key(folder, "alice@example.org"), Key(folder, "mallory@example.org")
        self.list.write_bytes(CONTENT)
        self.allowed.write_text(self.alice.line())

    def check(self, content: bytes = CONTENT) -> SignedList | None:
        return check_signature(self.signers, str(self.list), content)

    def refusal(self, content: bytes = CONTENT) -> str:
        with pytest.raises(ConfigurationError) as caught:
            self.check(content)
        assert caught.value.exit_code == EXIT_CONFIGURATION
        assert "\n" not in str(caught.value)
        return str(caught.value)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_signer_of_a_list(place: Place) -> None:
    place.alice.sign(place.list)
    assert place.check() == SignedList(str(place.list), CONTENT, "alice@example.org")


def test_list_that_need_not_be_signed(place: Place, tmp_path: Path) -> None:
    assert check_signature({}, str(place.list), CONTENT) is None
    assert check_signature(place.signers, str(tmp_path / "other"), CONTENT) is None
    assert check_signature(place.signers, "standard input", CONTENT) is None


def test_no_signature(place: Place) -> None:
    assert place.refusal() == (
        f"{place.list} must be signed (sync.signers), and {place.list}.sig cannot be read: No such file or directory"
    )


def test_signature_of_somebody_else(place: Place) -> None:
    place.mallory.sign(place.list)
    assert place.refusal().startswith(f"{place.list} is not signed by one of those in {place.allowed}: ")


def test_what_was_signed_is_what_is_used(place: Place) -> None:
    place.alice.sign(place.list)
    for content in (CONTENT + b"evil.example\n", CONTENT[:-1], b"", CONTENT.replace(b"\n", b"\r\n")):
        assert place.refusal(content).startswith(f"{place.list}.sig is no signature for {place.list} as it is now: ")


def test_the_file_may_change_meanwhile(place: Place) -> None:
    """What counts are the bytes that were read, not what is there by now."""
    place.alice.sign(place.list)
    place.list.write_text("evil.example\n")
    assert place.check() is not None


@pytest.mark.parametrize("options", ['namespaces="onionmx"', ""])
def test_signature_for_something_else(place: Place, options: str) -> None:
    place.allowed.write_text(place.alice.line(options))
    place.alice.sign(place.list, "file")
    assert place.refusal().startswith(f"{place.list}.sig is no signature for ")


def test_signer_who_may_sign_other_things_only(place: Place) -> None:
    place.allowed.write_text(place.alice.line('namespaces="git"'))
    place.alice.sign(place.list)
    assert place.refusal()


def test_signer_whose_time_is_over(place: Place) -> None:
    place.allowed.write_text(place.alice.line('valid-before="20200101"'))
    place.alice.sign(place.list)
    assert place.refusal()


def test_one_of_several_signers(place: Place) -> None:
    place.allowed.write_text(f"# comment\n{place.mallory.line()}{place.alice.line()}")
    place.mallory.sign(place.list)
    found = place.check()
    assert found is not None
    assert found.signer == "mallory@example.org"


@pytest.mark.parametrize("kind", ["rsa", "ecdsa"])
def test_other_kinds_of_keys(place: Place, tmp_path: Path, kind: str) -> None:
    key = Key(tmp_path, "bob@example.org", kind)
    place.allowed.write_text(key.line())
    key.sign(place.list)
    assert place.check() is not None


@pytest.mark.parametrize("signature", [b"", b"x" * 500, b"\x00\xff", b"-----BEGIN SSH SIGNATURE-----\n"])
def test_signature_that_is_none(place: Place, signature: bytes) -> None:
    Path(f"{place.list}.sig").write_bytes(signature)
    assert place.refusal()


@pytest.mark.parametrize("text", ["", "# nobody\n", "alice@example.org\n", "\x00\xff"])
def test_nobody_may_sign(place: Place, text: str) -> None:
    place.alice.sign(place.list)
    place.allowed.write_text(text)
    assert str(place.list) in place.refusal()


@pytest.mark.parametrize("which", ["allowed signers", "signature"])
@pytest.mark.parametrize("has_fifo", [True, False], ids=["FIFO", "missing"])
def test_files_that_cannot_be_read(place: Place, which: str, *, has_fifo: bool) -> None:
    place.alice.sign(place.list)
    path = place.allowed if which == "allowed signers" else Path(f"{place.list}.sig")
    path.unlink()
    if has_fifo:
        os.mkfifo(path)
    assert f"{path} cannot be read: " in place.refusal()


def test_without_ssh_keygen(place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place.alice.sign(place.list)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert place.refusal().endswith("ssh-keygen is not there: apt install openssh-client")


@pytest.mark.parametrize(
    ("script", "why"), [("kill -9 $$", "was ended by signal 9"), ("exec sleep 1000", "has not ended within 0.5 s")]
)
def test_program_that_comes_to_no_end_tells_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, why: str
) -> None:
    place.alice.sign(place.list)
    program = tmp_path / "bin" / "ssh-keygen"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr("onionmx.sync.lists.signature._TIME_LIMIT", 0.5)
    with pytest.raises(TemporaryError, match=why) as caught:
        place.check()
    assert caught.value.exit_code == EXIT_TEMPORARY


def test_list_is_known_by_any_path_that_leads_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "a").touch()
    (tmp_path / "link").symlink_to("lists")
    name = str(tmp_path / "link" / "a")
    signers = {name: "/signers"}
    monkeypatch.chdir(tmp_path)
    for path in (name, "link/a", "lists/../lists/a", "lists/a", f"{tmp_path}//lists/./a"):
        assert signed_as(signers, path) == name
    assert not signed_as(signers, "lists/b")


def test_older_list(tmp_path: Path) -> None:
    def numbered(content: bytes) -> list[SignedList]:
        return [SignedList("/list", content, "alice")]

    check_serials(numbered(CONTENT), {}, tmp_path)
    check_serials(numbered(CONTENT), {"/list": 7, "/other": 9}, tmp_path)
    for content, what in ((CONTENT, "serial 7"), (b"example.org\n", "no serial")):
        with pytest.raises(ConfigurationError, match=f"/list has {what}, and had 8 before: an older list"):
            check_serials(numbered(content), {"/list": 8}, tmp_path)


@pytest.mark.parametrize(
    ("content", "serial"),
    [
        (b"# serial: 2026112901\nexample.org\n", 2026112901),
        (b"---\r\n#serial:5\r\nx: []\r\n", 5),
        (b"# serial: 5\n# serial: 6\n", 5),
        (b"# a serial: 5\n", None),
        (b" # serial: 5\n", None),
        (b"# serial: five\n", None),
        (b"# serial: 5 # 6\n", None),
        (b"x\n" * 4096 + b"# serial: 5\n", None),
        (b"x\n" * 2038 + b"# serial: 2026\n", 2026),
        (b"x\n" * 2042 + b"# serial: 2026\n", None),
        (b"x" * 4090, None),
        (b"", None),
    ],
)
def test_serial(content: bytes, serial: int | None) -> None:
    assert SignedList("/list", content, "alice").serial == serial


@given(st.binary())
def test_any_list_has_a_serial_or_none(content: bytes) -> None:
    serial = SignedList("/list", content, "alice").serial
    assert serial is None or serial >= 0
