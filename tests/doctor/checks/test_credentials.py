"""Who can read the secrets. As root, the tests play the other user whose file it is."""

import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from onionmx.config import Configuration, MapSection, OnionSection, PublishSection, SyncSection, TorSection
from onionmx.doctor.checks.credentials import judge_secrets
from onionmx.doctor.finding import Finding, Severity
from tests.net.stranger import root_only

NAME = "onionmx.tsig"
STRANGER = 65533


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.touch(0o600)
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    for name in ("store", "store.encrypted"):
        (tmp_path / name).mkdir(0o700)
    return tmp_path / "store"


def judge(configuration: Configuration, store: Path | None = None) -> Finding:
    """Of one secret, on a machine whose tor runs elsewhere."""
    alone = replace(configuration, onion=OnionSection(directory="/nowhere"))
    (found,) = judge_secrets(alone, (str(store or "/nowhere"),))
    return found


def test_none() -> None:
    found = judge(Configuration())
    assert (found.severity, found.seen) == (Severity.OK, "the configuration names none")


def test_each_is_looked_at(secret: Path, tmp_path: Path) -> None:
    (tmp_path / "hs_ed25519_secret_key").touch(0o640)
    name = str(secret)
    configuration = Configuration(
        sync=SyncSection(store_password_file=name, store_key_file=name),
        tor=TorSection(control_password_file=name),
        publish=PublishSection(tsig_file=name),
        onion=OnionSection(directory=str(tmp_path)),
    )
    (key,) = judge_secrets(configuration)
    assert (key.severity, key.fix) == (Severity.PROBLEM, f"chmod 0600 {tmp_path}/hs_ed25519_secret_key")
    (tmp_path / "hs_ed25519_secret_key").chmod(0o600)
    (sound,) = judge_secrets(configuration)
    assert sound.severity is Severity.OK
    secret.chmod(0o644)
    assert [found.seen.partition(":")[0] for found in judge_secrets(configuration)] == [
        "sync.store_password_file",
        "sync.store_key_file",
        "tor.control_password_file",
        "publish.tsig_file",
    ]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_file_that_others_may_open(secret: Path, mode: int) -> None:
    secret.chmod(mode)
    found = judge(Configuration(publish=PublishSection(tsig_file=str(secret))))
    assert (found.severity, found.fix) == (Severity.PROBLEM, f"chmod 0600 {secret}")
    assert found.seen == f"publish.tsig_file: {secret} has mode {mode:04o}"


@root_only
def test_file_of_somebody_else(secret: Path) -> None:
    os.chown(secret, STRANGER, STRANGER)
    configuration = Configuration(publish=PublishSection(tsig_file=str(secret)))
    found = judge(configuration)
    assert found.severity is Severity.PROBLEM
    assert f"{secret} can be changed by others than root and onionmx and debian-tor (user {STRANGER}" in found.seen
    os.chown(secret, 0, 0)
    secret.parent.chmod(0o777)
    assert f"{secret.parent} can be changed by others" in judge(configuration).seen


@root_only
def test_file_of_the_user_who_runs_sync(secret: Path, tmp_path: Path) -> None:
    """Whatever his name is: with pip the folder of the map says who he is, as to `onionmx sync`."""
    os.chown(secret, STRANGER, STRANGER)
    folder = tmp_path / "map"
    folder.mkdir()
    os.chown(folder, STRANGER, STRANGER)
    configuration = Configuration(
        map=MapSection(path=str(folder / "onionmx.cdb")), sync=SyncSection(store_password_file=str(secret))
    )
    assert judge(configuration).severity is Severity.OK
    os.chown(folder, 0, 0)
    assert judge(configuration).severity is Severity.PROBLEM


def test_file_that_is_not_there(tmp_path: Path) -> None:
    found = judge(Configuration(publish=PublishSection(tsig_file=str(tmp_path / "none"))))
    assert (found.severity, found.seen) == (Severity.PROBLEM, f"publish.tsig_file: {tmp_path}/none does not exist")


def test_credential(store: Path) -> None:
    configuration = Configuration(publish=PublishSection(tsig_file=f"credential:{NAME}"))
    found = judge(configuration, store)
    assert found.severity is Severity.NOT_CHECKED
    assert f"credential {NAME} is neither in {store} nor in {store}.encrypted" in found.seen
    plain, encrypted = store / NAME, store.with_suffix(".encrypted") / NAME
    plain.touch(0o644)
    assert judge(configuration, store).fix == f"chmod 0600 {plain}"
    plain.chmod(0o600)
    assert judge(configuration, store).severity is Severity.OK
    encrypted.touch(0o644)
    found = judge(configuration, store)
    assert (found.severity, found.fix) == (Severity.WARNING, f"shred -u {plain}")
    plain.unlink()
    assert judge(configuration, store).severity is Severity.OK


@root_only
def test_what_may_not_be_looked_at_is_no_secret_that_is_missing(store: Path, secret: Path) -> None:
    os.seteuid(STRANGER)
    try:
        for name in (f"credential:{NAME}", str(secret)):
            found = judge(Configuration(publish=PublishSection(tsig_file=name)), store)
            assert (found.severity, found.fix) == (Severity.NOT_CHECKED, "run it as root")
            assert found.seen.endswith("cannot be looked at: Permission denied")
        (found,) = judge_secrets(Configuration(onion=OnionSection(directory=str(store))))
        assert found.severity is Severity.NOT_CHECKED
    finally:
        os.seteuid(0)
