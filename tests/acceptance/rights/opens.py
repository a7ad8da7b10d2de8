"""Who opens the files of some folders, and with which rights at that moment (fanotify(7)).

The kernel holds a process that opens one until it is told to go on. So a process that lives for milliseconds is seen
too, and its rights are those with which it opens the file.
"""

import ctypes
import os
import select
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.rights import command_of, status_of

_CLOEXEC, _CLASS_CONTENT = 0x1, 0x4  # fanotify_init(2)
_ADD, _OPEN_PERM, _ON_CHILD = 0x1, 0x10000, 0x08000000  # fanotify_mark(2)
_ALLOW = 0x1
_EVENT = struct.Struct("=IBBHQii")  # length, version, reserved, length of the head, mask, descriptor, process
_ANSWER = struct.Struct("=iI")
_AT_FDCWD = -100
_READ = 4096  # bytes


@dataclass(frozen=True)
class Opening:
    """One file that was opened.

    Attributes:
        path: of the file.
        command: program and arguments of who opened it.
        status: what the kernel said of the process meanwhile.
    """

    path: str
    command: Sequence[str]
    status: Mapping[str, str]


@dataclass
class Opens:
    """What was opened so far.

    Attributes:
        seen: all of it, in order.
        failures: what could not be told.
    """

    seen: list[Opening] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def take(self, descriptor: int, pid: int) -> None:
        """Note one."""
        try:
            path = str(Path(f"/proc/self/fd/{descriptor}").readlink())
            self.seen.append(Opening(path, command_of(pid), status_of(pid)))
        except OSError as error:
            self.failures.append(f"process {pid}: {error}")


@contextmanager
def watched(folders: Sequence[Path]) -> Iterator[Opens]:
    """Watch the files in these folders, not those in folders below, through every mount of them."""
    libc = ctypes.CDLL(None, use_errno=True)
    group = libc.fanotify_init(_CLASS_CONTENT | _CLOEXEC, os.O_RDONLY | os.O_CLOEXEC)
    if group < 0:
        raise OSError(ctypes.get_errno(), f"fanotify_init: {os.strerror(ctypes.get_errno())}")
    opens, (ended, end) = Opens(), os.pipe()
    thread = threading.Thread(target=_answer, args=(group, ended, opens))
    thread.start()
    try:
        for folder in folders:
            mask = ctypes.c_uint64(_OPEN_PERM | _ON_CHILD)
            if libc.fanotify_mark(group, _ADD, mask, _AT_FDCWD, os.fsencode(folder)):
                raise OSError(ctypes.get_errno(), f"fanotify_mark: {os.strerror(ctypes.get_errno())}", str(folder))
        yield opens
    finally:
        os.close(end)
        thread.join()
        for descriptor in (group, ended):  # a process that still waits goes on
            os.close(descriptor)


def _answer(group: int, ended: int, opens: Opens) -> None:
    while True:
        ready, _, _ = select.select([group, ended], [], [])
        if ended in ready:
            return
        data = os.read(group, _READ)
        while data:
            length, _, _, _, _, descriptor, pid = _EVENT.unpack_from(data)
            try:
                opens.take(descriptor, pid)
            finally:
                os.write(group, _ANSWER.pack(descriptor, _ALLOW))
                os.close(descriptor)
            data = data[length:]
