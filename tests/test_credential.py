"""Secrets that the configuration names: files, and credentials of systemd."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx import credential
from onionmx.config import Configuration
from onionmx.credential import PREFIX, check_secret, hold_credentials, name_secret, read_named_secret
from onionmx.errors import ConfigurationError
from tests.net.stranger import root_only

NAME = "onionmx.store-password"
STRANGER = 65533


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the credentials of a unit."""
    made = tmp_path / "credentials"
    made.mkdir(0o700)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(made))
    return made


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where systemd looks for credentials, outside of any unit."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setattr(credential, "STORES", (str(tmp_path / "nowhere"), str(tmp_path / "credstore")))
    monkeypatch.setattr(credential, "_held", {})
    made = tmp_path / "credstore"
    made.mkdir(0o700)
    (tmp_path / "credstore.encrypted").mkdir(0o700)
    return made


def put(folder: Path, mode: int, content: bytes = b"secret") -> Path:
    path = folder / NAME
    path.touch(0o600)
    path.write_bytes(content)
    path.chmod(mode)
    return path


# Debian 12: 0400, of the user, on ramfs. 13 and testing: root's, with an access list whose mask shows as the group's.
@pytest.mark.parametrize("mode", [0o400, 0o440])
def test_as_systemd_hands_it_over(folder: Path, mode: int) -> None:
    path = put(folder, mode)
    assert read_named_secret(PREFIX + NAME, "the password") == b"secret"
    assert read_named_secret(str(path), "the password") == b"secret"


@pytest.mark.parametrize("mode", [0o444, 0o460, 0o404])
def test_what_others_may_read_there_is_no_secret(folder: Path, mode: int) -> None:
    put(folder, mode)
    with pytest.raises(ConfigurationError, match=f"has mode {mode:04o}: it is a secret"):
        read_named_secret(PREFIX + NAME, "the password")


def test_group_may_read_no_other_file(folder: Path, tmp_path: Path) -> None:
    for place in (tmp_path, folder / "deeper"):
        place.mkdir(exist_ok=True)
        with pytest.raises(ConfigurationError, match="has mode 0440: it is a secret"):
            read_named_secret(str(put(place, 0o440)), "the password")


def test_one_that_is_not_there_is_named_with_what_to_do(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError) as raised:
        read_named_secret(PREFIX + NAME, "the store's password")
    assert str(raised.value) == (
        f"the store's password: credential {NAME} is not in {folder}: put it into /etc/credstore/{NAME}, mode 0600, or "
        f"encrypted into /etc/credstore.encrypted with LoadCredentialEncrypted={NAME} in the unit, and start the unit "
        "again"
    )
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    monkeypatch.setattr(os, "geteuid", lambda: STRANGER)
    with pytest.raises(ConfigurationError, match=r"only root, and a unit .* \(\$CREDENTIALS_DIRECTORY is not set\)"):
        read_named_secret(PREFIX + NAME, "the store's password")


def test_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"the key /.*/none does not exist"):
        read_named_secret(str(tmp_path / "none"), "the key")


@root_only
def test_root_finds_it_where_systemd_does(store: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"credential {NAME} is neither in "):
        read_named_secret(PREFIX + NAME, "the password")
    path = put(store, 0o600)
    assert read_named_secret(PREFIX + NAME, "the password") == b"secret"
    path.chmod(0o644)
    with pytest.raises(ConfigurationError, match="has mode 0644"):
        read_named_secret(PREFIX + NAME, "the password")


@root_only
def test_the_stores_are_those_of_root_alone(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who may read the file by accident is not led to it: in the unit he could not either."""
    put(store, 0o600)
    monkeypatch.setattr(os, "geteuid", lambda: STRANGER)
    with pytest.raises(ConfigurationError, match="only root, and a unit"):
        read_named_secret(PREFIX + NAME, "the password")


@root_only
def test_in_a_unit_nothing_else_is_looked_at(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, 0o600)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "empty"))
    with pytest.raises(ConfigurationError, match="is not in"):
        read_named_secret(PREFIX + NAME, "the password")


@root_only
def test_root_takes_nothing_from_the_folder_of_a_user(folder: Path) -> None:
    put(folder, 0o600)
    os.chown(folder, STRANGER, STRANGER)
    with pytest.raises(ConfigurationError, match=f"^.CREDENTIALS_DIRECTORY is {folder} of user {STRANGER}, not root's"):
        read_named_secret(PREFIX + NAME, "the password")
    with pytest.raises(ConfigurationError, match="unset it"):
        hold_credentials([PREFIX + NAME])


@root_only
def test_one_that_cannot_be_decrypted(store: Path) -> None:
    """By systemd-creds itself; tests/acceptance/secrets.py has one that can."""
    put(store.with_suffix(".encrypted"), 0o600, b"bm90aGluZw==\n")
    with pytest.raises(ConfigurationError, match=rf"^the password /.*/{NAME} cannot be decrypted: \S"):
        read_named_secret(PREFIX + NAME, "the password")
    with pytest.raises(ConfigurationError, match="cannot be decrypted"):
        hold_credentials([PREFIX + NAME])


@root_only
def test_held_while_rights_are_given_away(store: Path) -> None:
    """What becomes the user of sync has the password still, and can read it nowhere."""
    put(store, 0o600)
    code = f"""
        import os
        from onionmx import credential
        from onionmx.credential import hold_credentials, read_named_secret
        credential.STORES = ({str(store)!r},)
        hold_credentials(["/nowhere", "credential:none", "credential:{NAME}"])
        os.setresuid({STRANGER}, {STRANGER}, {STRANGER})
        assert not os.access({str(store / NAME)!r}, os.R_OK)
        print(read_named_secret("credential:{NAME}", "the password"))
        read_named_secret("credential:none", "the key")
    """
    lines = "\n".join(line[8:] for line in code.splitlines())
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=False)
    assert done.stdout == "b'secret'\n"
    assert "the key: credential none: only root, and a unit of systemd" in done.stderr


@pytest.mark.parametrize(
    ("section", "option"),
    [
        ("sync", "store_password_file"),
        ("sync", "store_key_file"),
        ("tor", "control_password_file"),
        ("publish", "tsig_file"),
    ],
)
def test_each_secret_of_the_configuration(section: str, option: str) -> None:
    text = f'[{section}]\n{option} = "{{}}"\n'
    for value in ("", "/etc/onionmx/secret", "credential:onionmx.secret"):
        Configuration.parse(text.format(value).encode(), "onionmx.toml")
    with pytest.raises(ConfigurationError, match=rf"{section}\.{option}: 'credential:\.\./x' is not the name"):
        Configuration.parse(text.format("credential:../x").encode(), "onionmx.toml")


def test_name_of_a_file() -> None:
    assert name_secret("/etc/credstore/onionmx.tsig") == "credential:onionmx.tsig"
    for path in ("/etc/onionmx/tsig.key", "/etc/credstore/a b", "/etc/credstore/deeper/key", "/etc/credstore", ""):
        assert name_secret(path) == path


@given(st.text() | st.from_regex(r"[\w./:@-]{0,10}"))
def test_no_name_leads_out_of_the_folder(name: str) -> None:
    try:
        check_secret(PREFIX + name, "sync.store_password_file")
    except ValueError as error:
        assert str(error).startswith("sync.store_password_file: ")
        assert str(error).isprintable()
        return
    assert re.fullmatch(r"[\w.@-]{1,128}", name, re.ASCII)
    assert name not in {".", ".."}
    assert Path("/folder", name).resolve().parent == Path("/folder").resolve()
