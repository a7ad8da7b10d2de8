"""A Debian machine, booted by systemd-nspawn in the namespaces of this process."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.e2e.daemon import wait_until

BOOT_TIMEOUT = 60.0
RUN_TIMEOUT = 180.0
_STATE = "systemctl --failed; journalctl -b --no-pager -n 50"
_REBOOTED = 133
"""nspawn's exit code when the machine asks for a reboot and nspawn keeps its unit (systemd-nspawn(1))."""
_HOST_OPTIONS = ("--capability=all", "--drop-capability=CAP_SYS_MODULE", "--system-call-filter=@mount @keyring bpf")
_HOST_ENVIRONMENT = {"SYSTEMD_NSPAWN_API_VFS_WRITABLE": "yes"}  # such as net.ipv4.ip_forward
_ENVIRONMENT: Mapping[str, str] = {
    "HOME": "/root",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
    "TERM": "dumb",
}


class MachineError(RuntimeError):
    """The machine did not do what it was asked for."""


class Machine:
    """One machine. It shares the network of this process, a loopback that only the two of them know, or has its own.

    Args:
        root: its files.
        name: its host name, fully qualified.
        network: the path of its network namespace; nspawn runs there too, as /sys shows the network of who mounts it.
        is_host: whether it may have machines of its own, with links and rules for them.
    """

    def __init__(self, root: Path, name: str, network: str = "/proc/self/ns/net", *, is_host: bool = False) -> None:
        self.root = root
        self.name = name
        self._network = network
        self._is_host = is_host
        self._process: subprocess.Popen[bytes] | None = None

    def boot(self) -> None:
        """Start it and wait until systemd has done all that belongs to starting."""
        begin = time.monotonic()
        command: list[str | Path] = [
            *("nsenter", f"--net={self._network}"),
            *("systemd-nspawn", "--quiet", "--directory", self.root, "--register=no", "--keep-unit", "--boot"),
            *("--network-namespace-path=/proc/self/ns/net", f"--hostname={self.name}", "--resolv-conf=off"),
            *("--timezone=off", "--link-journal=no", "--console=pipe"),
            *(_HOST_OPTIONS if self._is_host else ()),
        ]
        environment = {**os.environ, **(_HOST_ENVIRONMENT if self._is_host else {})}
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=sys.stdout, stderr=sys.stderr, env=environment
        )
        wait_until(lambda: self._ask("test -S /run/systemd/private"), "systemd in the machine", BOOT_TIMEOUT)
        state = self.run("systemctl is-system-running --wait", check=False).strip()
        print(f"booted in {time.monotonic() - begin:.1f} s: {state}", flush=True)
        if state != "running":
            raise MachineError(f"after booting: {state}\n{self.read(_STATE)}")

    def reboot(self) -> None:
        """Restart it."""
        self.run("systemctl reboot")
        self._wait(_REBOOTED)
        self.boot()

    def power_off(self) -> None:
        """End it."""
        self.run("systemctl poweroff")
        self._wait(0)

    def run(self, script: str, *, check: bool = True, timeout: float = RUN_TIMEOUT) -> str:
        """Run a shell script as root in the machine; return what it writes.

        Raises:
            MachineError: it failed, unless ``check`` is off.
        """
        print(f"{self.name}# {script}", flush=True)
        done = self._enter(script, timeout)
        text = done.stdout.decode(errors="replace")
        print(text, end="" if not text or text.endswith("\n") else "\n", flush=True)
        if check and done.returncode:
            raise MachineError(f"exit code {done.returncode}: {script}")
        return text

    def read(self, script: str) -> str:
        """Run a shell script in the machine and return what it writes, without a word of it in the log."""
        return self._enter(script, RUN_TIMEOUT).stdout.decode(errors="replace")

    def code(self, script: str) -> int:
        """Run a shell script in the machine; return its exit code."""
        return self._enter(script, RUN_TIMEOUT).returncode

    def path(self, name: str) -> Path:
        """Where a file of the machine is on this side."""
        return self.root / name.lstrip("/")

    def _ask(self, script: str) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise MachineError("the machine has ended while booting")
        return self._leader() is not None and self._enter(script, RUN_TIMEOUT).returncode == 0

    def _leader(self) -> int | None:
        """The number of the machine's first process, or None as long as it is not there."""
        if self._process is None:
            raise MachineError("the machine is not running")
        try:
            children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        except FileNotFoundError:
            return None
        return int(children[-1]) if children else None

    def _enter(self, script: str, timeout: float) -> "subprocess.CompletedProcess[bytes]":
        leader = self._leader()
        if leader is None:
            raise MachineError(f"the machine is gone: {script}")
        command = [
            *("nsenter", "--target", str(leader), "--all", "--root", "--wd"),
            *("bash", "-eo", "pipefail", "-c", script),
        ]
        return subprocess.run(
            command,
            env=_ENVIRONMENT,
            check=False,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def _wait(self, code: int) -> None:
        if self._process is None:
            raise MachineError("the machine is not running")
        if (ended := self._process.wait(BOOT_TIMEOUT)) != code:
            raise MachineError(f"the machine ended with {ended}, not {code}")
        self._process = None

    def __enter__(self) -> Self:
        """Boot it."""
        self.boot()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Kill it, if it has not been ended."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
