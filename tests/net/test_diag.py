"""The question to the kernel for the other end of a connection."""

import errno
import os
import socket
import struct
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.net.diag import LISTEN, TIME_WAIT, FarEnd, far_end, listener, read_answer
from tests.net.test_owner import IS_ROOT, OWN, STRANGER, as_user, bound

ESTABLISHED = 1


@pytest.mark.parametrize(("host", "asked"), [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("::", "127.0.0.1")])
def test_other_end(host: str, asked: str) -> None:
    """Before anybody has accepted it, and after it."""
    uid = STRANGER if IS_ROOT else OWN
    with bound(OWN, host) as server, socket.create_connection((asked, server.getsockname()[1])) as ours:
        found = far_end(ours)
        assert found is not None
        assert (found.state, found.inode) == (ESTABLISHED, 0)
        with as_user(uid):
            theirs, _ = server.accept()
        with theirs:
            assert far_end(ours) == FarEnd(ESTABLISHED, uid, os.fstat(theirs.fileno()).st_ino)


@pytest.mark.parametrize(("host", "asked"), [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("::", "127.0.0.1")])
def test_who_listens(host: str, asked: str) -> None:
    with bound(OWN, host) as server:
        port = server.getsockname()[1]
        with socket.create_connection((asked, port)):
            assert listener(asked, port) == FarEnd(LISTEN, OWN, os.fstat(server.fileno()).st_ino)
    assert listener(asked, port) is None
    assert listener("192.0.2.1", port) is None


def test_nobody_has_it() -> None:
    """The socket that listens is named, where there is one, or nothing."""
    with ExitStack() as stack:
        server = stack.enter_context(bound(OWN))
        ours = stack.enter_context(socket.create_connection(server.getsockname()))
        theirs, _ = server.accept()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        theirs.close()  # resets it
        with pytest.raises(ConnectionResetError):
            ours.recv(1)
        assert far_end(ours) is None  # it has no other end any more
        assert far_end(server) is None


def test_end_that_is_over() -> None:
    with bound(OWN) as server, socket.create_connection(server.getsockname()) as ours:
        theirs, _ = server.accept()
        theirs.close()
        ours.shutdown(socket.SHUT_WR)
        found = far_end(ours)
        assert found is None or found.state in {TIME_WAIT, LISTEN}


def test_kernel_that_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> socket.socket:
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))

    with bound(OWN) as server, socket.create_connection(server.getsockname()) as ours:
        monkeypatch.setattr(socket, "socket", forbidden)
        assert far_end(ours) is None


HEAD = struct.pack("=IHHII", 88, 20, 0, 0, 0)
"""Of a message that is an answer (netlink(7), SOCK_DIAG_BY_FAMILY)."""


@given(st.binary(max_size=120) | st.binary(max_size=110).map(lambda rest: HEAD + rest))
def test_any_answer(answer: bytes) -> None:
    found = read_answer(answer)
    assert found is None or (answer[4:6] == struct.pack("=H", 20) and found.state == answer[17])
