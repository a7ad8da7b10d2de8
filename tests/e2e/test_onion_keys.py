"""`onionmx onion authorize`, `revoke`, `list`, `use-key` and `create --instance-of`, with a tor without a network."""

import json
import os
import stat
from pathlib import Path

import pytest

from onionmx.tor.service.client_keys import format_auth, new_client_key, parse_auth_private
from tests.onions import IMPOSSIBLE_ONIONS, make_onion

from . import onion_host
from .onion_host import Host, between, without_rights

pytestmark = pytest.mark.usefixtures("tor_program")

FRONT = make_onion("front")
ONION = make_onion("private")
host = onion_host.host
open_host = onion_host.open_host


@pytest.fixture
def made(host: Host, capsys: pytest.CaptureFixture[str]) -> Host:
    """A host with an onion service for mail."""
    assert host.run("create") == 0
    capsys.readouterr()
    return host


def files_of_clients(host: Host) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (host.directory / "authorized_clients").glob("*")}


def test_pair_made_here(made: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onion = (made.directory / "hostname").read_text().strip()
    key = tmp_path / "partner.key"
    assert made.run("authorize", "partner.example", "--output", str(key)) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{onion}\npartner.example is authorized\nprivate: 1 client can reach it, nobody else\n")
    assert f"the private key is in {key}" in out
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    pair = parse_auth_private(key.read_text())
    assert pair.onion == onion
    assert files_of_clients(made) == {"partner.example.auth": format_auth(pair.public).encode()}
    assert made.run("list") == 0
    assert capsys.readouterr().out.splitlines()[0] == f"partner.example {pair.public}"

    # A pair that the sender has made.
    assert made.run("authorize", "other.example", new_client_key("").public, "--json") == 0
    change = json.loads(capsys.readouterr().out)
    assert [client["name"] for client in change["clients"]] == ["other.example", "partner.example"]
    assert change["private_key_file"] is None
    assert made.run("revoke", "partner.example") == 0
    assert made.run("revoke", "other.example") == 0
    assert "closed: nobody can reach it" in capsys.readouterr().out
    assert list(files_of_clients(made)) == ["nobody.auth"]
    assert made.run("authorize", "other.example", "--output", "-") == 0
    captured = capsys.readouterr()
    assert parse_auth_private(captured.out).onion == onion
    assert "other.example is authorized" in captured.err
    assert list(files_of_clients(made)) == ["other.example.auth"]
    assert made.running() == [f"{made.torrc.parent.parent}/other", str(made.directory)]


def test_asked_for_twice_it_is_authorized_once(made: Host, capsys: pytest.CaptureFixture[str]) -> None:
    public = new_client_key("").public
    assert made.run("authorize", "partner.example", public) == 0
    assert made.run("authorize", "partner.example", f"descriptor:x25519:{public.lower()}") == 0
    assert "it was so before, nothing was changed" in capsys.readouterr().out
    files = files_of_clients(made)
    for words, why in (
        (["partner.example", new_client_key("").public], "has another key: revoke partner.example first"),
        (["partner.example"], "has another key"),
        (["other.example", public], "this key is that of partner.example"),
    ):
        assert made.run("authorize", *words) == 78
        captured = capsys.readouterr()
        assert why in captured.err
        assert captured.err.count("\n") == 1
    assert files_of_clients(made) == files
    assert not Path("partner.example.auth_private").exists()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["authorize", "../x"], "is not a name for a client"),
        (["authorize", "a b"], "is not a name for a client"),
        (["authorize", "nobody"], "is taken"),
        (["authorize", "x", "A" * 51], "has 51 characters: an x25519 key has 52"),
        (["authorize", "x", "1" * 52], "is not base32"),
        (["authorize", "x", new_client_key("").public, "--output", "y"], "--output is for the private key"),
    ],
)
def test_impossible_names_and_keys(words: list[str], why: str, made: Host, capsys: pytest.CaptureFixture[str]) -> None:
    assert made.run(*words) == 64
    captured = capsys.readouterr()
    assert why in captured.err
    assert captured.err.count("\n") == 1
    assert files_of_clients(made) == {}


def test_client_or_service_that_is_not_there(made: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, why in (
        (["revoke", "../hostname"], "has no client '../hostname'"),
        (["revoke", "x"], "has no client 'x': onionmx onion list shows them"),
        (["revoke", "x", "--directory", str(tmp_path)], f"tor has no onion service of torrc in {tmp_path}"),
        (["authorize", "x", "--directory", str(tmp_path)], f"tor has no onion service of torrc in {tmp_path}"),
        (["list", "--directory", str(tmp_path / "none")], "cannot be read: No such file"),
    ):
        assert made.run(*words) == 78
        captured = capsys.readouterr()
        assert why in captured.err
        assert captured.err.count("\n") == 1
    assert (made.directory / "hostname").exists()


def test_key_file_that_is_there_stays(made: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = tmp_path / "key"
    key.write_text("mine")
    assert made.run("authorize", "x", "--output", str(key)) == 78
    assert "is there already: a key is never overwritten" in capsys.readouterr().err
    assert key.read_text() == "mine"
    assert made.run("authorize", "x", "--output", str(tmp_path / "none/key")) == 78
    assert "cannot be written: No such file" in capsys.readouterr().err
    assert files_of_clients(made) == {}


def test_clients_that_tor_ignores_are_named(made: Host, capsys: pytest.CaptureFixture[str]) -> None:
    """With none that tor can read, the service is open, whatever is in the folder."""
    folder = made.directory / "authorized_clients"
    (folder / "broken.auth").write_text("descriptor:x25519:\x1b[2J\n")
    (folder / "no-client.txt").write_text("x")
    assert made.run("list") == 0
    first, state = capsys.readouterr().out.splitlines()
    assert first.startswith("broken tor ignores it: ")
    assert first.isprintable()
    assert state == "open: everybody who knows the address can reach it"
    assert made.run("list", "--json") == 0
    (client,) = json.loads(capsys.readouterr().out)
    assert (client["name"], client["public"]) == ("broken", "")
    assert made.run("revoke", "broken") == 0
    assert "open: everybody" in capsys.readouterr().out  # as before
    assert list(files_of_clients(made)) == ["no-client.txt"]


def test_what_tor_refuses_changes_nothing(made: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert made.run("authorize", "there", new_client_key("").public) == 0
    files, key = files_of_clients(made), tmp_path / "key"
    for words in (["authorize", "x", "--output", str(key)], ["revoke", "there"]):
        with between(lambda data: data.replace(b"SETCONF Hidden", b"SETCONF Unknown"), made.tor.control) as address:
            made.configure(control=address)
            assert made.run(*words) == 75
        assert "tor does not take its onion services again: Unrecognized option" in capsys.readouterr().err
        assert files_of_clients(made) == files
        assert not key.exists()
        with between(lambda data: b"" if b"SETCONF" in data else data, made.tor.control) as address:
            made.configure(control=address)
            assert made.run(*words) == 75
        assert "closed the connection half-way" in capsys.readouterr().err
        assert files_of_clients(made) == files
        assert not key.exists()


def test_key_stays_when_the_wait_is_broken_off(
    made: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The client is authorized by then, and nobody else has the private half."""

    def break_off(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("onionmx.tor.service.descriptor.DescriptorEvents.wait_for_uploads", break_off)
    key = tmp_path / "key"
    assert made.run("authorize", "x", "--output", str(key)) == 0
    assert "descriptor could not tell: the wait for it was broken off" in capsys.readouterr().out
    public = parse_auth_private(key.read_text()).public
    assert files_of_clients(made) == {"x.auth": format_auth(public).encode()}


def test_service_that_tor_does_not_take_again(made: Host, capsys: pytest.CaptureFixture[str]) -> None:
    assert made.run("authorize", "there", new_client_key("").public) == 0
    files, seen = files_of_clients(made), [0]

    def refuse_second(data: bytes) -> bytes:
        seen[0] += data.count(b"SETCONF")
        return data.replace(b"SETCONF Hidden", b"SETCONF Unknown") if seen[0] > 1 else data

    with between(refuse_second, made.tor.control) as address:
        made.configure(control=address)
        assert made.run("revoke", "there") == 75
    assert f"tor gave up the service in {made.directory} and did not take it again: restart tor" in (
        capsys.readouterr().err
    )
    assert files_of_clients(made) == files


def test_folder_that_cannot_be_written(open_host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    assert open_host.run("create") == 0
    open_host.directory.chmod(0o755)
    with without_rights(open_host.directory / "authorized_clients"):
        assert open_host.run("authorize", "x", new_client_key("").public) == 78
        assert "cannot be changed: Permission denied" in capsys.readouterr().err
    assert files_of_clients(open_host) == {}


def key_file(folder: Path, onion: str = ONION) -> Path:
    path = folder / "sent"
    path.write_text(str(new_client_key(onion)))
    path.chmod(0o600)
    return path


def test_use_key(host: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, sent = host.torrc.read_text(), key_file(tmp_path)
    folder = host.torrc.parent / "onion-auth"
    used = folder / f"{ONION.removesuffix('.onion')}.auth_private"
    assert host.run("use-key", str(sent)) == 0
    assert capsys.readouterr().out.startswith(f"{ONION}\nits key is in {used}; tor uses it from now on")
    assert used.read_bytes() == sent.read_bytes()
    assert stat.S_IMODE(used.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert host.backup.read_text() == before
    assert host.running() == [f"{host.torrc.parent.parent}/other"]
    torrc = host.torrc.read_text()
    host.tor.stop()
    host.tor.start()
    with host.tor.controller() as controller:
        assert controller.get_conf("ClientOnionAuthDir") == str(folder)
        assert ONION.removesuffix(".onion") in str(controller.msg("ONION_CLIENT_AUTH_VIEW"))

    assert host.run("use-key", str(sent)) == 0
    assert "was in" in capsys.readouterr().out
    sent = key_file(tmp_path)
    assert host.run("use-key", str(sent), "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"onion": ONION, "path": str(used), "changed": True, "lines": ""}
    assert used.read_bytes() == sent.read_bytes()
    assert host.torrc.read_text() == torrc

    used.rename(folder / "mine.auth_private")
    (folder / "broken.auth_private").write_text("x")
    assert host.run("use-key", str(sent)) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["broken.auth_private", "mine.auth_private"]
    assert host.run("use-key", str(key_file(tmp_path))) == 78
    assert f"{folder}/mine.auth_private has another key for {ONION}: remove it first" in capsys.readouterr().err


def test_key_that_cannot_be_used(host: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files, path = host.files(), tmp_path / "sent"
    assert host.run("use-key", str(path)) == 64
    assert f"{path} does not exist" in capsys.readouterr().err
    wrong = [f"{onion.removesuffix('.onion')}:descriptor:x25519:{'A' * 52}" for onion in IMPOSSIBLE_ONIONS.values()]
    for text in ("", "x", str(new_client_key(ONION))[:-3], format_auth(new_client_key("").public), "\x1b[2J:", *wrong):
        path.write_text(text)
        path.chmod(0o600)
        assert host.run("use-key", str(path)) == 64
        captured = capsys.readouterr()
        assert captured.err.startswith(f"onionmx: {path}: ")
        assert captured.err.count("\n") == 1
        assert captured.err.strip().isprintable()
    key_file(tmp_path).chmod(0o644)
    assert host.run("use-key", str(path)) == 78
    assert "has mode 0644: it is a secret" in capsys.readouterr().err
    assert host.files() == files
    assert not (host.torrc.parent / "onion-auth").exists()


def test_key_that_tor_does_not_take(host: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files, sent, folder = host.files(), key_file(tmp_path), host.torrc.parent / "onion-auth"
    with between(lambda data: data.replace(b"SETCONF Client", b"SETCONF Unknown"), host.tor.control) as address:
        host.configure(control=address)
        assert host.run("use-key", str(sent)) == 75
    assert "tor does not take the new lines" in capsys.readouterr().err
    assert host.files() == files
    assert not folder.exists()

    host.configure(control=host.tor.control_address)
    with host.torrc.open("a") as file:
        file.write("Bogus 1\n")
    assert host.run("use-key", str(sent)) == 78
    assert "tor would not accept" in capsys.readouterr().err
    assert not folder.exists()
    host.torrc.write_bytes(files["torrc"])

    assert host.run("use-key", str(sent)) == 0
    (used,) = folder.iterdir()
    content = used.read_bytes()
    with between(lambda data: data.replace(b"SETCONF Client", b"SETCONF Unknown"), host.tor.control) as address:
        host.configure(control=address)
        assert host.run("use-key", str(key_file(tmp_path))) == 75
    assert used.read_bytes() == content


def test_private_service_over_the_control_port(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    """It has the clients of its folder, as it had in torrc."""
    folder = host.directory / "authorized_clients"
    folder.mkdir(parents=True, mode=0o700)
    host.directory.chmod(0o700)
    (folder / "x.auth").write_text("broken")
    assert host.run("create", "--over-control") == 78
    assert f"{folder}/x.auth: it is not a public key of tor's" in capsys.readouterr().err
    public = new_client_key("").public
    (folder / "x.auth").write_text(format_auth(public))
    said = bytearray()

    def note(data: bytes) -> bytes:
        said.extend(data)
        return data

    with between(note, host.tor.control) as address:
        host.configure(control=address)
        assert host.run("create", "--over-control") == 0
    (line,) = [line for line in said.splitlines() if line.startswith(b"ADD_ONION")]
    assert f"Flags=Detach,V3Auth ClientAuthV3={public} ".encode() in line


def test_instance_of_a_front(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    assert host.run("create", "--instance-of", FRONT, "--dry-run") == 0
    assert "HiddenServiceOnionBalanceInstance 1" in capsys.readouterr().out
    assert not host.directory.exists()
    assert host.run("create", "--instance-of", FRONT) == 0
    onion = capsys.readouterr().out.splitlines()[0]
    assert (host.directory / "ob_config").read_text() == f"MasterOnionAddress {FRONT}\n"
    files = host.files()
    assert host.run("create", "--instance-of", FRONT) == 0
    assert host.files() == files
    for words in (["--instance-of", make_onion("other front")], []):
        assert host.run("create", *words) == 78
        assert "there is another service in" in capsys.readouterr().err
    assert host.run("authorize", "x") == 78
    assert "is an instance behind an Onionbalance front" in capsys.readouterr().err
    host.tor.stop()
    host.tor.start()
    assert host.run("show", "--json") == 75
    (service,) = json.loads(capsys.readouterr().out)["services"]
    assert (service["onion"], service["options"]["HiddenServiceOnionBalanceInstance"]) == (onion, "1")


def test_front_that_is_none(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    files = host.files()
    assert host.run("create", "--instance-of", "front.example") == 64
    assert "is not an onion address" in capsys.readouterr().err
    assert host.run("create", "--instance-of", FRONT, "--over-control") == 64
    assert "exist in torrc only" in capsys.readouterr().err
    with between(lambda data: data.replace(b"SETCONF Hidden", b"SETCONF Unknown"), host.tor.control) as address:
        host.configure(control=address)
        assert host.run("create", "--instance-of", FRONT) == 75
    assert host.files() == files
    assert not host.directory.exists()
    assert os.geteuid() == os.getuid()
