"""Who may write to a shared store and does not know its key makes no route and no pin, on a real server."""

import os
import struct
import sys
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from subprocess import PIPE, Popen

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.config.store import ValkeyAddress
from onionmx.config.sync import SyncSection
from onionmx.domain import normalize
from onionmx.errors import ConfigurationError, DomainError, LockedError, StateError
from onionmx.sync.state.encoding import UnreadableError, encode_event, encode_record
from onionmx.sync.state.keyed import LONGEST_ENTRY, Seal, domain_of, read_seal
from onionmx.sync.state.record import DomainRecord
from onionmx.sync.state.valkey.lists import HostLists
from onionmx.sync.state.valkey.seal import seal_store
from onionmx.sync.state.valkey.server import ValkeyConnection
from onionmx.sync.state.valkey.store import ValkeyStore
from onionmx.sync.stores import seal_shared_store
from tests.e2e.valkey import ValkeyServer
from tests.mapfile.maps import A, B

from .records import routed, taken

KEY = b"k" * 32
OTHER = b"o" * 32
FOREIGN = "not written by a host that has the key in sync.store_key_file"
NOBODY = 65534


@pytest.fixture
def store(valkey_server: ValkeyServer) -> Iterator[ValkeyStore]:
    with closing(ValkeyStore(valkey_server.server(), Seal(KEY))) as store:
        store.set_listed(["a.org", "new.org"], 1.0)
        store.save([routed("a.org", due_at=1.0), routed("b.org", due_at=1.0)], [taken("a.org"), taken("b.org")])
        store.set_pins({"p.org": ((A, 25),), "q.org": ()})
        store.note(last="1")
        yield store


@pytest.fixture
def attacker(valkey_server: ValkeyServer) -> Iterator[ValkeyConnection]:
    """Somebody who may write everything on the server."""
    with closing(valkey_server.server()) as server:
        yield server


def test_hosts_with_the_key_share_everything(store: ValkeyStore, valkey_server: ValkeyServer) -> None:
    with closing(ValkeyStore(valkey_server.server(), Seal(KEY))) as other:
        assert [record.domain for record in other.routed()] == ["a.org", "b.org"]
        assert other.get(["a.org", "new.org"]) == store.get(["a.org", "new.org"])
        assert other.get(["new.org"])["new.org"].established is None
        assert other.history("a.org") == [taken("a.org")]
        assert other.pins() == {"p.org": ((A, 25),), "q.org": ()}
        assert other.notes()["last"] == "1"


def forged(domain: str) -> bytes:
    return struct.pack(">d", 1.0) + encode_record(routed(domain, due_at=1.0))


@pytest.mark.parametrize("value", [forged("a.org"), Seal(OTHER).close("record", "a.org", forged("a.org")), b"x" * 9])
def test_records_of_others(store: ValkeyStore, attacker: ValkeyConnection, value: bytes) -> None:
    attacker.ask("HSET", "onionmx:records", "a.org", value)
    with pytest.raises(StateError, match=f"the record of 'a.org' was {FOREIGN}.*the map of this host stays"):
        list(store.routed())
    with pytest.raises(StateError, match=FOREIGN):
        store.get(["a.org"])


def test_a_record_in_the_place_of_another(store: ValkeyStore, attacker: ValkeyConnection) -> None:
    attacker.ask("HSET", "onionmx:records", "a.org", attacker.ask("HGET", "onionmx:records", "b.org"))
    with pytest.raises(StateError, match=FOREIGN):
        store.get(["a.org"])


def test_events_pins_and_notes_of_others(store: ValkeyStore, attacker: ValkeyConnection) -> None:
    attacker.ask("RPUSH", "onionmx:history:a.org", encode_event(taken("a.org")))
    with pytest.raises(StateError, match=FOREIGN):
        store.history("a.org")
    attacker.ask("HSET", "onionmx:pins", "q.org", attacker.ask("HGET", "onionmx:pins", "p.org"))
    with pytest.raises(StateError, match=f"the pin of 'q.org' was {FOREIGN}"):
        store.pins()
    attacker.ask("HSET", "onionmx:pins", "q.org", B)
    with pytest.raises(StateError, match=FOREIGN):
        store.pins()
    attacker.ask("HSET", "onionmx:notes", "last", "2")
    with pytest.raises(StateError, match=FOREIGN):
        store.notes()


def test_a_host_without_the_key(store: ValkeyStore, valkey_server: ValkeyServer) -> None:
    assert store.get(["a.org"])
    for seal in (Seal(), Seal(OTHER)):
        with closing(ValkeyStore(valkey_server.server(), seal)) as other, pytest.raises(StateError):
            list(other.routed())


IMPOSSIBLE = [
    "a" * 64 + ".org",
    "\N{LATIN SMALL LETTER A WITH DIAERESIS}.org",
    "a..b",
    "",
    "A.org",
    "a_b",
    "-a",
    "a.org\n",
]


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_names_that_no_question_is_made_of(store: ValkeyStore, attacker: ValkeyConnection, name: str) -> None:
    attacker.ask("ZADD", "onionmx:due", 0, name)
    attacker.ask("ZADD", "onionmx:routed", 0, name)
    for look in (lambda: list(store.due(5.0)), lambda: list(store.routed())):
        with pytest.raises(StateError, match="is no domain"):
            look()
    attacker.ask("HSET", "onionmx:pins", name, A)
    with pytest.raises(StateError, match="is no domain"):
        store.pins()


def test_entries_that_are_too_long(store: ValkeyStore, attacker: ValkeyConnection) -> None:
    for key, name, look in (
        ("records", "a.org", lambda: store.get(["a.org"])),
        ("pins", "p.org", store.pins),
        ("notes", "last", store.notes),
    ):
        attacker.ask("HSET", f"onionmx:{key}", name, b"x" * (LONGEST_ENTRY + 1))
        with pytest.raises(StateError, match=f"{LONGEST_ENTRY} at most are possible"):
            look()


def test_lists_of_hosts(valkey_server: ValkeyServer, attacker: ValkeyConnection) -> None:
    compressor = zlib.compressobj(9)
    bomb = b"".join(compressor.compress(b"\n" * (1 << 20)) for _ in range(100)) + compressor.flush()
    with closing(HostLists(valkey_server.server(), Seal(KEY))) as lists:
        assert lists.exchange("a", b"a.org", 1.0, forget_after=1e9) == {"a": b"a.org"}
        assert lists.exchange("b", b"b.org", 1.0, forget_after=1e9) == {"a": b"a.org", "b": b"b.org"}
        attacker.ask("HSET", "onionmx:lists", "c", struct.pack(">d", 1.0) + zlib.compress(b"c.org"))
        with pytest.raises(StateError, match=f"the list of 'c' was {FOREIGN}"):
            lists.exchange("b", b"b.org", 1.0, forget_after=1e9)
        attacker.ask("HSET", "onionmx:lists", "c", Seal(KEY).close("list", "c", struct.pack(">d", 1.0) + bomb))
        with pytest.raises(StateError, match="longer than is possible"):
            lists.exchange("b", b"b.org", 1.0, forget_after=1e9)
        attacker.ask("HSET", "onionmx:lists", *(part for number in range(1001) for part in (f"h{number}", b"")))
        with pytest.raises(StateError, match="1000 at most are possible"):
            lists.exchange("b", b"b.org", 1.0, forget_after=1e9)


@given(st.binary(max_size=60), st.text(max_size=20), st.binary(max_size=100))
def test_any_entry_is_ours_or_the_documented_error(content: bytes, name: str, noise: bytes) -> None:
    seal = Seal(KEY)
    entry = seal.close("record", name, content)
    assert seal.open("record", name, entry) == content
    for kind, whose, what in (
        ("pin", name, entry),
        ("record", f"{name}x", entry),
        ("record", name, noise),
        ("record", name, entry + b"x"),
        ("record", name, bytes((entry[0] ^ 1, *entry[1:]))),
    ):
        if (kind, whose, what) != ("record", name, entry):
            with pytest.raises(UnreadableError, match="was not written by a host"):
                seal.open(kind, whose, what)
    assert Seal().open("record", name, Seal().close("record", name, content)) == content


@given(st.one_of(st.binary(max_size=70), st.from_regex(rb"[a-z0-9.-]{1,70}", fullmatch=True)))
def test_names_are_domains_in_normal_form(name: bytes) -> None:
    try:
        is_normal = normalize(name.decode("ascii")) == name.decode("ascii")
    except (DomainError, UnicodeDecodeError):
        is_normal = False
    if is_normal:
        assert domain_of(name) == name.decode()
    else:
        with pytest.raises(UnreadableError):
            domain_of(name)


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (None, 0, "does not exist"),
        (b"short\n", 0o600, "has 5 bytes"),
        (KEY, 0o644, "0600"),
        (b"", 0o600, "has 0 bytes"),
    ],
)
def test_keys_that_cannot_be_used(tmp_path: Path, content: bytes | None, mode: int, words: str) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
        file.chmod(mode)
    with pytest.raises(ConfigurationError, match=words):
        read_seal(str(file))


IMPOSTOR = """
import os, socket, sys
os.setuid(int(sys.argv[1]))
with socket.create_server(("127.0.0.1", 0)) as listener:
    print(listener.getsockname()[1], flush=True)
    connection, _ = listener.accept()
    print(connection.recv(1000), flush=True)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user too")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_local_user_in_the_place_of_the_server(tmp_path: Path, host: str) -> None:
    password = tmp_path / "password"
    password.touch(mode=0o600)
    password.write_text("secret")
    with Popen([sys.executable, "-c", IMPOSTOR, str(NOBODY)], stdout=PIPE, text=True) as impostor:
        assert impostor.stdout
        address = ValkeyAddress(host, int(impostor.stdout.readline()))
        with (
            closing(ValkeyConnection(address, password_file=str(password))) as server,
            pytest.raises(StateError, match=rf"user {NOBODY} listens at 127\.0\.0\.1:.*sync\.store_users"),
        ):
            server.ask("PING")
        impostor.kill()
        assert "secret" not in impostor.stdout.read()


def test_record_that_nobody_knows_anything_of(store: ValkeyStore) -> None:
    assert store.get(["new.org"])["new.org"] == DomainRecord("new.org", 1.0)


def filled(server: ValkeyConnection, seal: Seal) -> None:
    with closing(ValkeyStore(server, seal)) as store:
        store.set_listed(["a.org", "new.org"], 1.0)
        store.save([routed("a.org", due_at=1.0), routed("b.org", due_at=1.0)], [taken("a.org"), taken("a.org")])
        store.set_pins({"p.org": ((A, 25),), "q.org": ()})
        store.note(last="1")


def content(server: ValkeyConnection, seal: Seal) -> object:
    with closing(ValkeyStore(server, seal)) as store:
        names = ["a.org", "b.org", "new.org"]
        return store.get(names), [store.history(name) for name in names], store.pins(), store.notes()


def test_store_in_use_gets_a_key(valkey_server: ValkeyServer) -> None:
    filled(valkey_server.server(), Seal())
    with closing(HostLists(valkey_server.server())) as lists:
        lists.exchange("mx1", b"a.org\n", 1.0, forget_after=10.0)
    before = content(valkey_server.server(), Seal())
    with pytest.raises(StateError, match=FOREIGN):
        content(valkey_server.server(), Seal(KEY))
    with closing(valkey_server.server()) as server:
        assert seal_store(server, Seal(KEY)) == 8  # two records, two events, two pins, a note and a list
        assert seal_store(server, Seal(KEY)) == 0
        with pytest.raises(StateError, match="checksum"):
            seal_store(server, Seal(OTHER))
    assert content(valkey_server.server(), Seal(KEY)) == before
    with closing(HostLists(valkey_server.server(), Seal(KEY))) as lists:
        assert lists.exchange("mx2", None, 2.0, forget_after=10.0) == {"mx1": b"a.org\n"}


def test_what_a_host_without_the_key_has_written_since(valkey_server: ValkeyServer) -> None:
    filled(valkey_server.server(), Seal(KEY))
    with closing(ValkeyStore(valkey_server.server())) as store:
        store.save([routed("c.org", due_at=1.0)], [taken("a.org")])
    with closing(valkey_server.server()) as server:
        assert seal_store(server, Seal(KEY)) == 2
    with closing(ValkeyStore(valkey_server.server(), Seal(KEY))) as store:
        assert [record.domain for record in store.routed()] == ["a.org", "b.org", "c.org"]
        assert store.history("a.org") == [taken("a.org")] * 3


def test_no_key_while_sync_runs(valkey_server: ValkeyServer) -> None:
    with (
        closing(ValkeyStore(valkey_server.server())) as store,
        closing(valkey_server.server()) as server,
        store.run_lock(),
        pytest.raises(LockedError),
    ):
        seal_store(server, Seal(KEY))


@pytest.mark.parametrize(("store", "key_file"), [("", "key"), ("/srv/state.sqlite", "key"), ("valkey://127.0.0.1", "")])
def test_no_key_for_a_store_of_one_host(store: str, key_file: str) -> None:
    with pytest.raises(ConfigurationError, match=r"expected a store that hosts share"):
        seal_shared_store(SyncSection(store=store, store_key_file=key_file))
