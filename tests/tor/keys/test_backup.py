"""`onionmx onion backup` and `restore`, with the real age and openssl."""

import os
import pwd
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from onionmx.cli import main
from onionmx.errors import ConfigurationError, InputError
from onionmx.tor.keys.encryption import AGE, ITERATIONS, Secrets, decrypted, encrypted
from onionmx.tor.service.client_keys import format_auth, new_client_key
from onionmx.tor.service.identity import PUBLIC_KEY, SECRET_KEY

from .service_key import files_of

FILES = files_of(b"a".ljust(32)) | {"authorized_clients/alice.auth": format_auth(new_client_key("").public).encode()}
OTHER = files_of(b"b".ljust(32))
ONION = FILES["hostname"].decode().strip()
NOBODY = "nobody"
IS_ROOT = os.geteuid() == 0


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o600)


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Host:
    """A folder with the files of an onion service, keys for backups, and a configuration."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.directory = folder / "onion-mx"
        write(self.directory, FILES)
        self.backup = folder / "backup"
        self.passphrase = self._secret("passphrase", "correct horse battery staple\nnot this\n")
        done = subprocess.run([f"{AGE}-keygen"], capture_output=True, text=True, check=True)
        self.identity = self._secret("identity", done.stdout)
        self.recipients = folder / "recipients"
        self.recipients.write_text(f"# the operator\n{done.stdout.split('public key: ')[1].split()[0]}\n")
        self.configuration = folder / "onionmx.toml"
        self.configuration.write_text(
            f'[tor]\nuser = "{pwd.getpwuid(os.geteuid()).pw_name}"\n[onion]\ndirectory = "{self.directory}"\n'
        )
        self.ways = {
            "age": (["--recipients", str(self.recipients)], ["--identity", str(self.identity)]),
            "openssl": (["--passphrase", str(self.passphrase)],) * 2,
        }

    def _secret(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)
        return path

    def run(self, command: str, *words: str) -> int:
        return main(["onion", command, str(self.backup), "--config", str(self.configuration), *words])

    def all_files(self) -> dict[str, bytes]:
        return content_of(self.folder)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture(params=["age", "openssl"])
def ways(request: pytest.FixtureRequest, host: Host) -> tuple[list[str], list[str]]:
    """Options to encrypt and to decrypt."""
    return host.ways[request.param]


def test_there_and_back(host: Host, ways: tuple[list[str], list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    there, back = ways
    assert host.run("backup", *there) == 0
    assert capsys.readouterr().out == f"{ONION}\nits backup, with the key of 1 client, is {host.backup}\n"
    assert stat.S_IMODE(host.backup.stat().st_mode) == 0o600
    content = host.backup.read_bytes()
    assert not any(secret in content for secret in (FILES[SECRET_KEY], ONION.encode(), b"authorized_clients"))

    host.directory.rename(host.folder / "lost")
    assert host.run("restore", *back, "--onion", ONION.upper()) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{ONION}\nit is in {host.directory}, with the key of 1 client\n")
    assert "onionmx onion create" in out
    assert content_of(host.directory) == FILES
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (host.directory, *host.directory.rglob("*"))}
    assert modes == {0o700, 0o600}

    files = host.all_files()
    assert host.run("restore", *back) == 0
    assert "as in the backup; nothing was changed" in capsys.readouterr().out
    assert host.all_files() == files


def test_without_onionmx(host: Host) -> None:
    """As docs/private-onion.md has it."""
    for command in (
        ["/usr/bin/age", "-d", "-i", str(host.identity), str(host.backup)],
        [
            *("/usr/bin/openssl", "enc", "-d", "-aes-256-cbc", "-pbkdf2", "-iter", str(ITERATIONS), "-md", "sha256"),
            *("-pass", f"file:{host.passphrase}", "-in", str(host.backup)),
        ],
    ):
        there, _ = host.ways[Path(command[0]).name]
        assert host.run("backup", *there) == 0
        archive = subprocess.run(command, capture_output=True, check=True).stdout
        place = host.folder / "by-hand"
        place.mkdir()
        subprocess.run(["tar", "-x", "-C", str(place)], input=archive, check=True)
        subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=place, check=True)
        (place / "SHA256SUMS").unlink()
        assert content_of(place) == FILES
        place.rename(host.folder / f"from-{Path(command[0]).name}")
        host.backup.unlink()


def test_another_onion_is_never_overwritten_untold(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    there, back = host.ways["age"]
    assert host.run("backup", *there) == 0
    (host.directory / "authorized_clients/alice.auth").unlink()
    write(host.directory, OTHER)
    files = host.all_files()
    assert host.run("restore", *back) == 78
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert f"there is another onion, {OTHER['hostname'].decode().strip()}, in {host.directory}" in captured.err
    assert host.all_files() == files

    assert host.run("restore", *back, "--replace") == 0
    replaced = host.folder / "onion-mx.before-restore"
    assert f"what was there is {replaced}; restart tor" in capsys.readouterr().out
    assert content_of(host.directory) == FILES
    assert content_of(replaced) == OTHER

    write(host.directory, OTHER)
    files = host.all_files()
    assert host.run("restore", *back, "--replace") == 78
    assert f"{replaced} is there from before" in capsys.readouterr().err
    assert host.all_files() == files


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"authorized_clients/bob.auth": FILES["authorized_clients/alice.auth"]}, "this onion is there with other"),
        ({SECRET_KEY: b"x"}, "there is a key that is not in this backup"),
    ],
)
def test_what_is_there_stays(
    change: dict[str, bytes], why: str, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    there, back = host.ways["age"]
    assert host.run("backup", *there) == 0
    write(host.directory, change)
    files = host.all_files()
    assert host.run("restore", *back) == 78
    assert why in capsys.readouterr().err
    assert host.all_files() == files


def test_folder_with_other_files(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    there, back = host.ways["age"]
    assert host.run("backup", *there) == 0
    files = host.all_files()
    assert host.run("restore", *back, "--directory", str(host.folder)) == 78
    assert "there are other files in" in capsys.readouterr().err
    assert host.all_files() == files
    empty = host.folder / "empty"
    empty.mkdir()
    assert host.run("restore", *back, "--directory", str(empty)) == 0
    assert content_of(empty) == FILES


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({PUBLIC_KEY: OTHER[PUBLIC_KEY]}, "do not belong together"),
        ({"hostname": OTHER["hostname"]}, "but the key is that of"),
        ({SECRET_KEY: b"x"}, "is not the key of an onion service"),
        ({"authorized_clients/x.auth": b"x"}, "x.auth: it is not a public key"),
    ],
)
def test_no_backup_of_what_does_not_fit_together(
    files: dict[str, bytes], why: str, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    write(host.directory, files)
    assert host.run("backup", *host.ways["age"][0]) == 78
    captured = capsys.readouterr()
    assert why in captured.err
    assert captured.err.count("\n") == 1
    assert not host.backup.exists()


def test_backup_is_never_overwritten(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.backup.write_bytes(b"the only one")
    assert host.run("backup", *host.ways["age"][0]) == 78
    assert "a backup is never overwritten" in capsys.readouterr().err
    assert host.backup.read_bytes() == b"the only one"
    host.backup.unlink()
    host.backup.symlink_to(host.folder / "elsewhere")
    assert host.run("backup", *host.ways["age"][0]) == 78
    assert not (host.folder / "elsewhere").exists()


def test_no_folder_or_no_key(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    assert host.run("backup", *host.ways["age"][0], "--directory", str(host.folder / "none")) == 78
    assert "there is no hs_ed25519_secret_key" in capsys.readouterr().err
    assert host.run("restore", *host.ways["age"][1]) == 64
    assert f"{host.backup} does not exist" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["backup", "restore"])
def test_one_way_has_to_be_named(command: str, host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    key = "--recipients" if command == "backup" else "--identity"
    for words in ([], [key, "x", "--passphrase", "y"]):
        assert host.run(command, *words) == 64
        assert f"say either {key} FILE" in capsys.readouterr().err


def test_wrong_key(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    other = host.folder / "other"
    subprocess.run([f"{AGE}-keygen", "-o", str(other)], capture_output=True, check=True)
    host.directory.rename(host.folder / "lost")
    for way, wrong, why in (
        ("age", ["--identity", str(other)], "no identity matched"),
        ("age", ["--passphrase", str(host.passphrase)], "name its file with --identity"),
        ("openssl", ["--identity", str(host.identity)], "name its file with --passphrase"),
        ("openssl", ["--passphrase", str(other)], f"{other} is not its passphrase, or it is damaged"),
    ):
        (host.folder / "lost").rename(host.directory)
        assert host.run("backup", *host.ways[way][0]) == 0
        host.directory.rename(host.folder / "lost")
        files = host.all_files()
        capsys.readouterr()
        assert host.run("restore", *wrong) == 78
        captured = capsys.readouterr()
        assert why in captured.err
        assert captured.err.count("\n") == 1
        assert host.all_files() == files
        host.backup.unlink()


def test_wrong_onion(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    there, back = host.ways["age"]
    assert host.run("backup", *there) == 0
    wanted = OTHER["hostname"].decode().strip()
    assert host.run("restore", *back, "--onion", wanted) == 78
    assert f"is a backup of {ONION}, not of {wanted}; nothing was changed" in capsys.readouterr().err
    assert host.run("restore", *back, "--onion", "x.onion") == 64


@pytest.mark.parametrize("content", ["", "\n", "two\0words\n"])
def test_passphrase_that_is_none(content: str, host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.passphrase.write_text(content)
    assert host.run("backup", *host.ways["openssl"][0]) == 78
    assert "expected one line of text" in capsys.readouterr().err
    assert not host.backup.exists()


def test_secrets_that_others_can_read(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.passphrase.chmod(0o640)
    assert host.run("backup", *host.ways["openssl"][0]) == 78
    assert "has mode 0640" in capsys.readouterr().err
    assert host.run("backup", *host.ways["age"][0]) == 0
    host.identity.chmod(0o644)
    assert host.run("restore", *host.ways["age"][1]) == 78
    assert "has mode 0644" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content",
    ["", "# nobody\n", "age1nonsense\n", "-----BEGIN\n" * 20_000],
    ids=["empty", "comment", "nonsense", "larger than a pipe"],
)
def test_recipients_that_are_none(content: str, host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.recipients.write_text(content)
    assert host.run("backup", *host.ways["age"][0]) == 78
    captured = capsys.readouterr()
    assert captured.err.startswith(f"onionmx: {host.recipients}: age refused: ")
    assert captured.err.count("\n") == 1
    assert not host.backup.exists()


def test_program_that_is_missing_or_not_roots(
    host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("onionmx.tor.keys.encryption.AGE", str(host.folder / "age"))
    assert host.run("backup", *host.ways["age"][0]) == 78
    assert "age is not there: apt install age" in capsys.readouterr().err
    (host.folder / "age").write_text("#!/bin/sh\n")
    (host.folder / "age").chmod(0o777)
    assert host.run("backup", *host.ways["age"][0]) == 78
    assert "can be changed by others than root" in capsys.readouterr().err


@settings(
    max_examples=8,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],  # each example takes seconds
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_damaged_backup_changes_nothing(
    host: Host, ways: tuple[list[str], list[str]], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Age notices each change; with openssl the checksums within do."""
    there, back = ways
    kept = host.folder / "kept"
    if not kept.exists():
        assert host.run("backup", *there) == 0
        host.backup.rename(kept)
    content = bytearray(kept.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    host.backup.write_bytes(content)
    place = tmp_path_factory.mktemp("restored") / "onion-mx"
    code = host.run("restore", *back, "--directory", str(place))
    if code == 0:  # of a tar archive some bytes mean nothing
        assert back[0] == "--passphrase"
        assert content_of(place) == FILES
    else:
        assert code == 78
        assert not place.exists()


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=300))
def test_anything_is_decrypted_or_refused(host: Host, content: bytes) -> None:
    for secrets in (Secrets(passphrase=host.passphrase), Secrets(age=host.identity)):
        for text in (content, b"Salted__" + content, b"age-encryption.org/v1\n" + content):
            with pytest.raises((InputError, ConfigurationError)) as caught:
                assert decrypted(text, secrets) == b"never"
            assert str(caught.value).isprintable()
    assert decrypted(encrypted(content, Secrets(host.recipients)), Secrets(host.identity)) == content


@pytest.mark.skipif(not IS_ROOT, reason="only root makes files for another user")
def test_files_belong_to_tor_and_links_lead_nowhere(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    user = pwd.getpwnam(NOBODY)
    there, back = host.ways["age"]
    assert host.run("backup", *there) == 0
    host.configuration.write_text(host.configuration.read_text().replace('user = "root"', f'user = "{NOBODY}"'))
    place = Path("/tmp") / f"onionmx-{os.getpid()}"  # noqa: S108 -- where another user can look
    place.mkdir(mode=0o755)
    try:
        lib = place / "lib"
        lib.mkdir(mode=0o700)
        os.chown(lib, user.pw_uid, user.pw_gid)
        assert host.run("restore", *back, "--directory", str(lib / "onion-mx")) == 0
        made = [lib / "onion-mx", *(lib / "onion-mx").rglob("*")]
        assert {path.stat().st_uid for path in made} == {user.pw_uid}
        # A folder of root's, to which tor's user has put a link.
        (place / "roots").mkdir(mode=0o755)
        (lib / "link").symlink_to(place / "roots")
        assert host.run("restore", *back, "--directory", str(lib / "link/onion-mx")) == 78
        assert "Permission denied; run as root or as tor's user; nothing was changed" in capsys.readouterr().err
        assert not list((place / "roots").iterdir())
        assert os.geteuid() == 0
    finally:
        subprocess.run(["rm", "-r", str(place)], check=True)
