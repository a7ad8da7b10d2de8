"""Another user of this machine who opens many connections."""

import os
import subprocess
import sys
import tempfile
from asyncio import create_subprocess_exec
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

UID = 65533
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
user_namespace = pytest.mark.skipif(
    os.geteuid() != 0
    or subprocess.run(["unshare", "--user", "true"], check=False, capture_output=True).returncode != 0,
    reason="user_namespaces(7): the kernel makes none for a process in a chroot",
)
# Says the same on each connection, reads one answer, and holds them until its input ends.
_PROGRAM = """
import os, socket, sys
uid, port, number, words, is_answered = sys.argv[1:]
os.setgid(int(uid)); os.setuid(int(uid))
held = []
for _ in range(int(number)):
    held.append(socket.socket())
    held[-1].connect(("127.0.0.1", int(port)))
    held[-1].sendall(words.encode())
    if is_answered == "True":
        held[-1].recv(4096)
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def folder_for_others() -> Iterator[Path]:
    """A folder in which other users find files; those of pytest may be searched by who runs the tests alone."""
    with tempfile.TemporaryDirectory(prefix="onionmx-") as name:
        folder = Path(name)
        above = folder.parent.stat().st_mode
        folder.chmod(0o755)
        yield folder
        assert folder.parent.stat().st_mode == above, f"{folder.parent} belongs to all of this machine"


@contextmanager
def as_stranger() -> Iterator[None]:
    """Be another user meanwhile, if this is root, who may everything."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(UID)
    try:
        yield
    finally:
        os.seteuid(user)


@asynccontextmanager
async def stranger(port: int, number: int, words: str = "", *, is_answered: bool = True) -> AsyncIterator[None]:
    """Connections of another user to a port on loopback."""
    command = [sys.executable, "-c", _PROGRAM, *map(str, (UID, port, number, words, is_answered))]
    process = await create_subprocess_exec(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin
    assert process.stdout
    try:
        assert await process.stdout.readline() == b"held\n"
        yield
    finally:
        process.stdin.close()
        await process.wait()
