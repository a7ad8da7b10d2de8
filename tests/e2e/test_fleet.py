"""Several hosts and one server: who may write, what is encrypted, and what happens when any of them goes away."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest

from onionmx.config.store import ValkeyAddress
from onionmx.errors import EXIT_TEMPORARY, LockedError, StateError
from onionmx.sync.state.record import DomainRecord
from onionmx.sync.state.valkey.lock import COUNTER, LOCK
from onionmx.sync.state.valkey.server import ValkeyConnection
from onionmx.sync.state.valkey.store import FORMAT
from tests.net.certificates import Issued, issue
from tests.sync.state.records import OLD, WAITING, routed, taken

from .daemon import wait_until
from .programs import PROJECT
from .valkey import PASSWORD, ValkeyServer

LEASE = 0.5  # seconds
LONG_LEASE = 9.0  # for what must happen before its end, on a busy machine too
RENEWALS = 5  # in more than that time
HOLDER = """\
import sys
from pathlib import Path
from onionmx.config.store import parse_store
from onionmx.sync.state.record import DomainRecord
from onionmx.sync.state.valkey.store import ValkeyStore
from onionmx.sync.state.valkey.server import ValkeyConnection
store = ValkeyStore(ValkeyConnection(parse_store(sys.argv[1]), password_file=sys.argv[2]), lease=float(sys.argv[3]))
with store.run_lock():
    store.save([DomainRecord("by-the-first.org", 1.0)])
    print("held", flush=True)
    sys.stdin.readline()
    store.save([DomainRecord("too-late.org", 1.0)])
"""
"""Another host: takes the lock, says so, and saves once more when it is told to."""


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


def other_host(server: ValkeyServer, lease: float = LEASE) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(server.address), str(server.password_file), str(lease)],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    return process


def is_free(client: ValkeyConnection) -> bool:
    return client.ask("GET", LOCK) is None


def test_one_host_writes_and_every_host_reads(server: ValkeyServer) -> None:
    with closing(server.store()) as first, closing(server.store()) as second:
        with first.run_lock():
            first.set_listed(["a.org", "b.org"], 1.0)
            first.save([routed("a.org", pending=WAITING)], [taken("a.org")])
            first.set_pins({"c.org": ()})
            with pytest.raises(LockedError, match=r"another run is at work .* pid \d+.*; nothing was changed"):
                second.run_lock().__enter__()
        assert {record.domain: record.established for record in second.routed()} == {"a.org": OLD}
        assert [record.pending for record in second.routed()] == [WAITING]
        assert second.pins() == {"c.org": ()}
        assert second.history("a.org") == [taken("a.org")]


def test_the_lock_of_a_host_that_dies_ends_by_itself(server: ValkeyServer) -> None:
    with other_host(server, LONG_LEASE) as dead, closing(server.store()) as store, closing(server.server()) as client:
        dead.kill()
        with pytest.raises(LockedError, match=r"Without a sign of life from there, the lock ends in \d s"):
            store.run_lock().__enter__()
        wait_until(lambda: is_free(client), "the lock has ended")
        with store.run_lock():
            store.save([DomainRecord("by-the-second.org", 1.0)])
        assert set(store.get(["by-the-first.org", "by-the-second.org", "too-late.org"])) == {
            "by-the-first.org",
            "by-the-second.org",
        }


def test_a_host_that_was_paused_writes_nothing_after_another_took_over(server: ValkeyServer) -> None:
    with other_host(server) as paused, closing(server.store()) as store, closing(server.server()) as client:
        paused.send_signal(signal.SIGSTOP)
        wait_until(lambda: is_free(client), "the lock has ended")
        with store.run_lock():
            paused.send_signal(signal.SIGCONT)
            _, errors = paused.communicate("go on\n")
            assert paused.returncode == 1
            assert "StateError" in errors
            assert "this run lost the lock to" in errors
            assert not store.get(["too-late.org"])
            assert not is_free(client), "and it left the lock of the other one alone"


def test_a_host_that_was_paused_goes_on_if_nobody_took_over(server: ValkeyServer) -> None:
    with other_host(server) as paused, closing(server.store()) as store, closing(server.server()) as client:
        paused.send_signal(signal.SIGSTOP)
        wait_until(lambda: is_free(client), "the lock has ended")
        paused.send_signal(signal.SIGCONT)
        _, errors = paused.communicate("go on\n")
        assert (paused.returncode, errors) == (0, "")
        assert store.get(["too-late.org"])


def test_the_lock_lasts_as_long_as_the_run(server: ValkeyServer) -> None:
    with closing(server.store(lease=LONG_LEASE)) as store, closing(server.server()) as client:
        with store.run_lock():
            # The time that is left goes down, and up again with each renewal: seen after several times the lease.
            ups, last = 0, float("inf")
            while ups < RENEWALS:
                left = client.ask("PTTL", LOCK)
                assert left > 0
                ups += left > last
                last = left
            with pytest.raises(LockedError):
                server.store().run_lock().__enter__()
        assert is_free(client)


def test_a_server_that_lost_everything_ends_the_run(server: ValkeyServer) -> None:
    with closing(server.store()) as store, store.run_lock():
        store.save([routed("a.org")])
        server.flush()
        with pytest.raises(StateError, match="this run lost the lock to another run, which has ended since"):
            store.save([routed("b.org")])


def test_with_the_server_away_the_map_of_the_host_stays(server: ValkeyServer) -> None:
    store = server.store()
    store.save([routed("a.org")])
    server.stop()
    for use in (store.counts, lambda: list(store.due(1.0)), lambda: list(store.routed()), server.store):
        with pytest.raises(StateError, match=r"the server cannot be reached .*; the map of this host stays") as caught:
            use()
        assert caught.value.exit_code == EXIT_TEMPORARY
        assert "\n" not in str(caught.value)
    server.start()
    assert list(store.routed()) == [routed("a.org")], "it was durable, and the next run goes on"
    store.close()


def test_killed_in_the_middle(server: ValkeyServer) -> None:
    """What was saved is there after the server was killed and started again."""
    with closing(server.store()) as store:
        for number in range(20):
            store.save([routed(f"{number}.org")])
        server.daemon.signal(signal.SIGKILL)
        server.daemon.stop()
        server.start()
        assert len(list(store.routed())) == 20


def test_a_server_that_hangs_is_not_waited_for_forever(server: ValkeyServer) -> None:
    client = ValkeyConnection(
        server.address, password_file=str(server.password_file), timeout=6
    )  # of which the first question may take some
    client.ask("PING")
    server.daemon.signal(signal.SIGSTOP)
    try:
        with pytest.raises(StateError, match=r"cannot be reached .*[Tt]imeout"):
            client.ask("PING")
    finally:
        server.daemon.signal(signal.SIGCONT)
        client.close()


@pytest.mark.parametrize("password", ["", "wrong"])
def test_without_the_right_password(server: ValkeyServer, tmp_path: Path, password: str) -> None:
    file = tmp_path / "password"
    file.touch(0o600)
    file.write_text(password)
    client = ValkeyConnection(server.address, password_file=str(file) if password else "")
    with pytest.raises(StateError, match=r"the server refuses us .*check user and password") as caught:
        client.ask("GET", LOCK)
    assert PASSWORD not in str(caught.value)
    client.close()


def test_a_user_of_its_own(server: ValkeyServer) -> None:
    with closing(server.server()) as client:
        client.ask("ACL", "SETUSER", "mx", "on", f">{PASSWORD}", "~onionmx:*", "+@all", "-@dangerous")
        client.ask("ACL", "SETUSER", "nobody", "on", f">{PASSWORD}", "~other:*", "+@all")
    mx = server.server(replace(server.address, user="mx"))
    mx.ask("SET", "onionmx:format", FORMAT)
    with pytest.raises(StateError, match=r"the server forbids it .*its ACL must allow"):
        mx.ask("GET", "other:key")
    nobody = server.server(replace(server.address, user="nobody"))
    with pytest.raises(StateError, match="the server forbids it"):
        nobody.ask("GET", COUNTER)
    mx.close()
    nobody.close()


def test_a_state_of_a_newer_version(server: ValkeyServer) -> None:
    with closing(server.server()) as client:
        client.commit([("SET", "onionmx:format", FORMAT + 1), ("SET", "onionmx:writer", "7.0.0")])
        with pytest.raises(
            StateError, match=r"was written by onionmx '7\.0\.0', .* bring all hosts to the same version"
        ):
            server.store()
        client.ask("SET", "onionmx:format", "what?")
        with pytest.raises(StateError, match=r"is not a number: restore it from a backup, or delete all keys"):
            server.store()


def test_a_server_that_lost_a_part(server: ValkeyServer) -> None:
    """As after a restart of one that may not replay its own transactions: valkey-io/valkey#3983."""
    with closing(server.server()) as client:
        client.ask("HSET", "onionmx:notes", "listed", "1")
        with pytest.raises(StateError, match=r"lost a part of it, .*: restore it .* or delete all keys"):
            server.store()
        client.ask("UNLINK", "onionmx:notes")
        server.store().close()


def test_damage_never_becomes_a_route(server: ValkeyServer) -> None:
    with closing(server.server()) as client, closing(server.store()) as store:
        store.save([routed("a.org"), routed("b.org")])
        value = client.ask("HGET", "onionmx:records", "a.org")
        client.ask("HSET", "onionmx:records", "b.org", value)
        with pytest.raises(
            StateError, match=r"the checksum of 'b\.org' is wrong: restore it .* map of this host stays"
        ):
            list(store.routed())
        client.ask("HDEL", "onionmx:records", "a.org")
        with pytest.raises(StateError, match=r"the record of 'a\.org' is missing"):
            store.get(["a.org"])
        client.commit([("DEL", "onionmx:records"), ("SET", "onionmx:records", "a string")])
        with pytest.raises(StateError, match=r"the server refuses: .WRONGTYPE"):
            store.save([routed("a.org")])


def test_a_server_without_memory_keeps_what_it_has(server: ValkeyServer) -> None:
    with closing(server.server()) as client, closing(server.store()) as store:
        store.save([routed("a.org")], [taken("a.org")])
        client.ask("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(StateError, match="has no memory left, raise its maxmemory; nothing of the last step"):
            store.save([routed("b.org")], [taken("b.org")])
        client.ask("CONFIG", "SET", "maxmemory", "0")
        assert list(store.routed()) == [routed("a.org")]
        assert store.history("b.org") == []


def test_a_replica_is_not_written_to(server: ValkeyServer) -> None:
    with closing(server.server()) as client, closing(server.store()) as store:
        client.ask("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(StateError, match="the server is a replica: name the primary"):
            store.save([routed("a.org")])


def test_a_server_of_something_else(web_server: ValkeyAddress) -> None:
    client = ValkeyConnection(web_server, timeout=60)
    with closing(client), pytest.raises(StateError, match=r"this is no Valkey or Redis server \(.*HTTP"):
        client.ask("GET", LOCK)


@pytest.fixture
def web_server() -> Iterator[ValkeyAddress]:
    """Answers like a web server."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                while connection.recv(1024):  # closing earlier could take the answer away from the client
                    pass

        thread = Thread(target=answer)
        thread.start()
        yield ValkeyAddress("127.0.0.1", listener.getsockname()[1])
        thread.join()


@pytest.fixture(scope="module")
def ca() -> Issued:
    return issue(is_ca=True)


@pytest.fixture
def tls_server(ca: Issued, tmp_path: Path) -> Iterator[ValkeyServer]:
    certificate, key = issue("127.0.0.1", ca=ca).write(tmp_path)
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(ca.pem)
    with ValkeyServer(tls=(certificate, key, ca_file)) as server:
        yield server


def test_over_tls(tls_server: ValkeyServer) -> None:
    with closing(tls_server.store()) as store, store.run_lock():
        store.save([routed("a.org")])
        assert list(store.routed()) == [routed("a.org")]


def test_a_certificate_of_another_name(tls_server: ValkeyServer) -> None:
    elsewhere = replace(tls_server.address, host="127.0.0.2")
    with closing(tls_server.server()) as client:
        client.ask("CONFIG", "SET", "bind", "127.0.0.1 127.0.0.2")
    with pytest.raises(StateError, match=r"CERTIFICATE_VERIFY_FAILED.*mismatch"):
        tls_server.server(elsewhere).ask("PING")


def test_a_certificate_of_an_unknown_ca(tls_server: ValkeyServer, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(issue(is_ca=True).pem)
    for ca_file in ("", str(other)):
        client = ValkeyConnection(tls_server.address, password_file=str(tls_server.password_file), ca_file=ca_file)
        with pytest.raises(StateError, match="CERTIFICATE_VERIFY_FAILED"):
            client.ask("PING")


def test_a_file_of_cas_makes_no_authority_of_a_server_and_replaces_the_system(
    tls_server: ValkeyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", tls_server.ca_file)
    for certificate in (tmp_path / "certificate.pem", tmp_path / "other.pem"):
        (tmp_path / "other.pem").write_bytes(issue(is_ca=True, common_name="Other CA").pem)
        client = ValkeyConnection(
            tls_server.address, password_file=str(tls_server.password_file), ca_file=str(certificate), timeout=60
        )
        with pytest.raises(StateError, match="CERTIFICATE_VERIFY_FAILED"):
            client.ask("PING")


def test_a_server_without_tls_is_not_spoken_to_in_the_clear(server: ValkeyServer) -> None:
    address = replace(server.address, is_tls=True)
    with pytest.raises(StateError, match="the server cannot be reached"):
        ValkeyConnection(address, password_file=str(server.password_file), timeout=0.5).ask("PING")
