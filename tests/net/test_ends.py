"""The other end of a connection. As root, the tests play the local user who connects from the port of a service."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from onionmx.errors import OwnerError
from onionmx.net import ends
from onionmx.net.ends import believed_listener, belongs_to, bind_random
from onionmx.net.owner import ListenerOwner
from onionmx.tor.reach import reach
from tests.net.stranger import user_namespace
from tests.net.test_owner import ASK, OWN, STRANGER, as_user, bound

root_only = pytest.mark.skipif(OWN != 0, reason="only root can open connections of another user")


@pytest.fixture(params=["asked", "looked up"])
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel is asked for the other end, or does not tell it, as under `RestrictAddressFamilies=` of systemd."""
    if request.param == "looked up":
        monkeypatch.setattr(ends, "far_end", lambda _: None)
        monkeypatch.setattr(ends, "listener", lambda *_: None)


def free(host: str) -> socket.socket:
    """A socket bound as `bound` has it, but nobody listens on it yet."""
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return made


@contextmanager
def waiting_for(host: str, served: int, client: int) -> Iterator[tuple[socket.socket, Callable[[], None]]]:
    """A stranger's socket on the port of a service that listens later, which connects to the port of a client to come.

    Nobody answers him as long as a queue there is full. Once it is gone, which the second value does, he waits on for
    a second: then the kernel asks again, and he is refused because nobody listens there.
    """
    with ExitStack() as stack, as_user(STRANGER):
        his = stack.enter_context(free(host))
        his.bind((host, served))
        full = free(host)
        full.bind((host, client))
        full.listen(0)
        queue = [full, *(socket.socket(full.family) for _ in range(2))]
        for one in queue:
            stack.enter_context(one)
        for fill in queue[1:]:
            fill.settimeout(0)
            fill.connect_ex((host, client))
        his.settimeout(0)
        his.connect_ex((host, client))

        def end_queue() -> None:
            for one in queue:
                one.close()

        yield his, end_queue


@contextmanager
def connected_to_stranger(host: str) -> Iterator[tuple[int, socket.socket, socket.socket]]:
    """A service that listens, his end and ours of a connection from its port, which it knows nothing of."""
    for _ in range(20):
        served, port = two_ports(host)
        with ExitStack() as stack:
            his, end_queue = stack.enter_context(waiting_for(host, served, port))
            stack.enter_context(bound(OWN, host, served))
            ours = stack.enter_context(free(host))
            end_queue()
            ours.bind((host, port))
            ours.connect((host, served))
            if not his.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                yield served, his, ours
                return
        # He was refused before we came: nothing but a machine that stalls takes a second for that.
    raise AssertionError("he was refused each time")


def two_ports(host: str) -> tuple[int, int]:
    with free(host) as one, free(host) as other:
        one.bind((host, 0))
        other.bind((host, 0))
        return one.getsockname()[1], other.getsockname()[1]


@root_only
@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_stranger_who_connects_to_who_connects_is_found(host: str) -> None:
    """The service listens before and after, and he has the connection."""
    with connected_to_stranger(host) as (served, his, ours):
        ours.send(b"secret")
        his.settimeout(None)
        assert his.recv(9) == b"secret"
        listener = ListenerOwner(host, served, ())
        listener.confirm()  # as far as who listens goes
        assert (found := believed_listener(host, served, ())) is None or not belongs_to(found, ours, ())
        with pytest.raises(OwnerError, match=f"user {STRANGER} has a connection at"):
            listener.confirm(ours)


@user_namespace
def test_namespace_sees_the_stranger_who_waits() -> None:
    served, port = two_ports("127.0.0.1")
    command = ["unshare", "--user", "--map-root-user", sys.executable, "-c", ASK, str(served), "root", "/"]
    with waiting_for("127.0.0.1", served, port), bound(OWN, "127.0.0.1", served):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "another user connects from 127.0.0.1" in done.stdout


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::"])
def test_connection_to_who_listens_is_believed(host: str) -> None:
    """Before it is accepted, and after it."""
    with bound(OWN, host) as server:
        port = server.getsockname()[1]
        asked = "127.0.0.1" if host == "::" else host
        listener = ListenerOwner(asked, port, ())
        with free(asked) as ours:
            bind_random(ours)
            ours.connect((asked, port))
            listener.confirm(ours)
            theirs, _ = server.accept()
            listener.confirm(ours)
            theirs.close()
            listener.confirm(ours)


@pytest.mark.usefixtures("both_ways")
def test_connection_that_nobody_has() -> None:
    with bound(OWN) as server, free("127.0.0.1") as ours:
        ours.bind(("127.0.0.1", 0))
        with pytest.raises(OwnerError, match="it cannot be told who has the connection to"):
            ListenerOwner("127.0.0.1", server.getsockname()[1], ()).confirm(ours)


@root_only
def test_listener_that_changes_before_the_connection_is_accepted() -> None:
    """Nothing is believed that is not as it was."""
    with bound(OWN) as server:
        host, port = server.getsockname()
        found = believed_listener(host, port, ())
        assert found is not None
    with bound(STRANGER, host, port) as his, socket.create_connection((host, port)) as ours:
        assert believed_listener(host, port, ()) is None
        assert not belongs_to(found, ours, ())
        with as_user(STRANGER):
            theirs, _ = his.accept()
        with theirs:
            assert not belongs_to(found, ours, ())
            assert belongs_to(found, ours, (str(STRANGER),))


@pytest.mark.usefixtures("both_ways")
def test_port_that_reaches_tor_is_not_foreseen() -> None:
    with bound(OWN) as server:

        async def ports() -> list[int]:
            with ExitStack() as stack:
                made = [stack.enter_context(await reach(server.getsockname(), "root")) for _ in range(8)]
                return [one.getsockname()[1] for one in made]

        drawn = asyncio.run(ports())
    assert max(drawn) - min(drawn) > 8 * 16  # further apart than those that connect() takes one after the other
