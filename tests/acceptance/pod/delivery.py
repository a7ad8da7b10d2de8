"""The pod as an ordinary user's systemd starts it, without any network but its own, and a message through it.

    python -m tests.acceptance.pod.delivery ROOT PID

It runs in a network namespace of its own, which stands for the host's; the pod has another one, with a private Tor
network in it. The message goes from the MTA of the host to the relay, over Tor to the onion service of the same pod,
and back to the MTA.
"""

import json
import re
import smtplib
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.acceptance.documents import Kind, section, steps
from tests.e2e.daemon import answers, wait_until
from tests.e2e.programs import PROJECT
from tests.own_network import loopback_up

from .host import HOME, RUNTIME, Host
from .image import UID_OUTSIDE, health_check
from .seen import ExposedError, Process, assert_harmless, processes

DOMAIN = "remote.example"
CONTAINERS = ("onionmx-tor", "onionmx-relay", "onionmx-serve")
_ARRIVES = 120.0  # seconds
_CONFIGURATION = f"{HOME}/.config/onionmx"
_VOLUMES = f"{HOME}/.local/share/containers/storage/volumes"
_SECRETS = ("hs_ed25519_secret_key", "control_auth_cookie")
# A network of podman's cannot be had here, nor a system that tells when it is up, nor a journal.
_HERE = """\
mkdir -p ~/.config/containers/systemd/onionmx.pod.d ~/.config/systemd/user
printf '[Pod]\\nNetwork=\\nNetwork=none\\n' >~/.config/containers/systemd/onionmx.pod.d/none.conf
ln -s /dev/null ~/.config/systemd/user/podman-user-wait-network-online.service
printf '[Manager]\\nDefaultStandardOutput=inherit\\nDefaultStandardError=inherit\\n' >~/.config/systemd/user.conf
"""
_DOCUMENT = PROJECT / "docs/pod.md"


class DeliveryError(Exception):
    """Mail did not go as it should."""


def prove(host: Host) -> None:
    """All of it."""
    loopback_up()
    host.run(_HERE)
    text = _DOCUMENT.read_text()
    [service] = [step.text for step in steps(section(text, "Be an onion MX")) if "HiddenServiceDir" in step.text]
    with host.user_manager(), _mta() as received:
        for step in steps(section(text, "Start")):
            if step.kind is Kind.SHELL:
                host.run(f"cd {HOME}/onionmx\n{step.text}")
        torrc = host.path(f"{_CONFIGURATION}/torrc")
        infra = host.inspect("onionmx-infra")["State"]["Pid"]
        with _tor_network(host.root.parent, infra) as network:
            torrc.write_text(service + _line(network))
            host.run("systemctl --user restart onionmx-tor")
            onion = _onion(host)
            host.path(f"{_CONFIGURATION}/pins").write_text(f"{DOMAIN} {onion}\n")
            host.run("systemctl --user start onionmx-sync onionmx-relay onionmx-serve")
            _ask(network, onion)
            _delivers(received)
            _look_up(onion)
            for container in CONTAINERS:
                host.run(f"podman healthcheck run {container}")
            host.run(f"podman exec onionmx-relay {health_check(host)}")
            host.run("podman exec onionmx-tor onionmx doctor --check tor --check control --check socks")
            _look_at_isolation(host.run("podman exec onionmx-relay onionmx doctor --check isolation"))
            _look_at_processes(host)
            host.run("systemctl --user restart onionmx-relay")
            _delivers(received)
        host.run("systemctl --user stop onionmx-pod")


def _onion(host: Host) -> str:
    name = host.path(f"{_VOLUMES}/onionmx-tor/_data/onion-mx/hostname")
    wait_until(name.exists, "the name of the onion service")
    return name.read_text().strip()


def _delivers(received: "Queue[bytes]") -> None:
    with smtplib.SMTP("127.0.0.1", 10025, timeout=_ARRIVES) as relay:
        relay.sendmail("alice@local.example", [f"bob@{DOMAIN}"], b"Subject: through the pod\r\n\r\nHello.\r\n")
    if b"through the pod" not in (message := received.get(timeout=_ARRIVES)):
        raise DeliveryError(f"the MTA got {message!r}")


def _look_up(onion: str) -> None:
    with socket.create_connection(("127.0.0.1", 10028), timeout=_ARRIVES) as connection:
        connection.sendall(f"get {DOMAIN}\n".encode())
        answer = connection.recv(1000)
    if not answer.startswith(b"200 "):
        raise DeliveryError(f"serve says {answer!r} of {DOMAIN}, which has {onion}")


def _look_at_isolation(said: str) -> None:
    if "isolation: pod: " not in said or not re.search(r"\b0 problems?\b", said):
        raise ExposedError(f"the doctor in the pod says: {said}")


def _look_at_processes(host: Host) -> None:
    found = {name: processes(host, name) for name in CONTAINERS}
    if not all(found.values()):
        raise ExposedError(f"no process of a container: {found}")
    for name, each in found.items():
        for process in each:
            assert_harmless(process, UID_OUTSIDE)
            _look_at_keys(process, sees=name == "onionmx-tor")
    # The unix socket to the MTA is tor's alone, as the others have no use for it.
    for name in CONTAINERS[1:]:
        if any("mta" in place for place in found[name][0].mounts):
            raise ExposedError(f"{name} reaches the MTA of the host")
    if [name for name in host.path(RUNTIME).iterdir() if name.name == "podman"]:
        raise ExposedError("podman listens on a socket")


def _look_at_keys(process: Process, *, sees: bool) -> None:
    root = process.folder / "root"
    places = [place for place in process.mounts if not place.startswith(("/proc", "/sys", "/dev"))]
    names = {path.name for place in places for path in _files(root / place.lstrip("/"))}
    for secret in _SECRETS:
        if (secret in names) != sees:
            raise ExposedError(f"{process.container}: {secret} is {'not ' if sees else ''}there")


def _files(place: Path) -> Iterator[Path]:
    yield from place.rglob("*") if place.is_dir() else (place,)


@contextmanager
def _tor_network(folder: Path, pid: int) -> "Iterator[subprocess.Popen[str]]":
    command = ["nsenter", f"--net=/proc/{pid}/ns/net", sys.executable, "-m", "tests.acceptance.pod.network"]
    with subprocess.Popen(
        [*command, str(folder)],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=sys.stderr,
        text=True,
    ) as network:
        yield network
        if network.stdin is not None:
            network.stdin.close()


def _line(network: "subprocess.Popen[str]") -> str:
    line = network.stdout.readline() if network.stdout is not None else ""
    if not line:
        raise DeliveryError("the private Tor network ended")
    return str(json.loads(line))


def _ask(network: "subprocess.Popen[str]", onion: str) -> None:
    """Wait until the onion service can be reached."""
    if network.stdin is not None:
        network.stdin.write(f"{onion}\n")
        network.stdin.flush()
    _line(network)


class _Handler:
    def __init__(self, received: "Queue[bytes]") -> None:
        self._received = received

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Take the message (the name is aiosmtpd's)."""
        del server, session
        self._received.put(envelope.content if isinstance(envelope.content, bytes) else b"")
        return "250 2.0.0 taken"


@contextmanager
def _mta() -> "Iterator[Queue[bytes]]":
    received: Queue[bytes] = Queue()
    server = Controller(_Handler(received), hostname="127.0.0.2", port=25)
    server.start()
    try:
        wait_until(lambda: answers("127.0.0.2", 25), "the MTA of the host")
        yield received
    finally:
        server.stop()


if __name__ == "__main__":
    prove(Host(Path(sys.argv[1]), int(sys.argv[2])))
