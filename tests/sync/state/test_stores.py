"""What `sync.store` may say."""

from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.config.store import ValkeyAddress, parse_store
from onionmx.config.sync import SyncSection
from onionmx.errors import ConfigurationError, StateError
from onionmx.sync.state.sqlite import SqliteStore
from onionmx.sync.state.valkey.store import ValkeyStore
from onionmx.sync.stores import open_store
from tests.e2e.valkey import ValkeyServer

SERVER = ValkeyAddress("127.0.0.1", 6379, is_tls=True)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("/var/lib/onionmx/state.sqlite", Path("/var/lib/onionmx/state.sqlite")),
        ("valkey://127.0.0.1", ValkeyAddress("127.0.0.1", 6379)),
        ("valkey://localhost:7000/3", ValkeyAddress("localhost", 7000, 3)),
        ("valkey://[::1]:7000", ValkeyAddress("::1", 7000)),
        ("valkeys://valkey", ValkeyAddress("valkey", 6379, is_tls=True)),
        ("valkeys://mail_valkey_1", ValkeyAddress("mail_valkey_1", 6379, is_tls=True)),
        ("valkeys://state.example.org", ValkeyAddress("state.example.org", 6379, is_tls=True)),
        ("valkeys://mx@[2001:db8::1]/1", ValkeyAddress("2001:db8::1", 6379, 1, is_tls=True, user="mx")),
    ],
)
def test_places(text: str, place: ValkeyAddress | Path) -> None:
    assert parse_store(text) == place


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "sync.store is empty: expected the path"),
        ("redis://127.0.0.1", "'redis' is unknown, Redis has the same protocol as Valkey: expected the path"),
        ("valkeys://", "is not an address: expected the path"),
        ("valkeys://host:0", "not an address"),
        ("valkeys://host:", "not an address"),
        ("valkeys://host:port", "not an address"),
        ("valkeys://host/one", "is not an address"),
        ("valkeys://host/1/2", "is not an address"),
        ("valkeys://host/\N{SUPERSCRIPT TWO}", "is not an address"),
        ("valkeys://host?ssl=no", "is not an address"),
        ("valkeys://[host", "not an address"),
        ("valkey://state.example.org", r"is on another host, .* expected valkeys://"),
        ("valkeys://state.Onion./0", "is a name for Tor"),
        ("valkeys://val key", "contains ' '"),
        ("valkeys://127.1", "is neither an IP address nor a name"),
        ("valkey://192.0.2.1", r"is on another host, .* expected valkeys://"),
        ("valkeys://:secret@host", "a file of its own with mode 0600, named by sync.store_password_file"),
        ("valkeys://mx:secret@host", "has a password in it, and anyone who may read the configuration could read it"),
        ("valkeys://mx:secret@host:port", "not an address"),
    ],
)
def test_impossible_places(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        parse_store(text)
    assert "secret" not in str(caught.value)
    if text:
        with pytest.raises(ValueError, match=problem):
            SyncSection(store=text)


@given(st.text() | st.text().map("valkeys://".__add__) | st.from_regex(r"valkeys?://[\w@:\[\].]*[/?#]?\w*"))
def test_whatever_it_says_is_a_place_or_refused(text: str) -> None:
    try:
        place = parse_store(text)
    except ValueError as error:
        assert "expected" in str(error)
        return
    if isinstance(place, ValkeyAddress):
        assert place.host
        assert parse_store(str(place)).host.lower() == place.host.lower()  # type: ignore[union-attr]


def test_a_file_is_opened(tmp_path: Path) -> None:
    with closing(open_store(tmp_path / "folder" / "state.sqlite", SyncSection())) as store:
        assert isinstance(store, SqliteStore)


def test_a_server_is_opened_by_the_name_of_this_host(valkey_server: ValkeyServer) -> None:
    settings = SyncSection(store_password_file=str(valkey_server.password_file))
    with closing(open_store(ValkeyAddress("localhost", valkey_server.address.port), settings)) as store:
        assert isinstance(store, ValkeyStore)


def test_no_server_elsewhere_is_asked_without_tls_and_none_that_cannot_be_found() -> None:
    # Only the library could be led there: the configuration refuses such an address.
    with pytest.raises(
        StateError, match=r"192\.0\.2\.1 is 192\.0\.2\.1 here, which is another host: expected valkeys://"
    ):
        open_store(ValkeyAddress("192.0.2.1", 6379), SyncSection())
    with pytest.raises(StateError, match=r"host nosuch\.invalid .*; the map of this host stays"):
        open_store(ValkeyAddress("nosuch.invalid", 6379, is_tls=True), SyncSection())


def test_a_server_is_opened(valkey_server: ValkeyServer) -> None:
    settings = SyncSection(store_password_file=str(valkey_server.password_file))
    with closing(open_store(valkey_server.address, settings)) as store:
        assert isinstance(store, ValkeyStore)


@pytest.mark.parametrize(
    ("content", "mode", "problem"),
    [
        (None, 0, "does not exist"),
        (b"secret", 0o644, "has mode 0644: it is a secret, chmod 0600 it"),
        (b" \n", 0o600, "is empty"),
        (b"\xff", 0o600, "is not UTF-8"),
    ],
)
def test_password_files(tmp_path: Path, content: bytes | None, mode: int, problem: str) -> None:
    path = tmp_path / "password"
    if content is not None:
        path.write_bytes(content)
        path.chmod(mode)
    with pytest.raises(ConfigurationError, match=problem):
        open_store(SERVER, SyncSection(store_password_file=str(path)))


def test_ca_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no-such\.pem cannot be used: No such file"):
        open_store(SERVER, SyncSection(store_ca_file=str(tmp_path / "no-such.pem")))
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(ConfigurationError, match=r"sync\.store_ca_file .*ca\.pem cannot be used: no cert"):
        open_store(SERVER, SyncSection(store_ca_file=str(tmp_path / "ca.pem")))
