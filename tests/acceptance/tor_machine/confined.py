"""What tor's machine is and can reach, as the host sees it: nothing here asks the machine itself."""

import re
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial

from tests.acceptance.machine import Machine, MachineError
from tests.acceptance.tor_machine.host import HOST, INTERNET, PRIVATE, ROUTER
from tests.e2e.daemon import answers, wait_until

_PORT = 8025
_LEADER = "cat /proc/$(systemctl show -P MainPID onionmx-tor.service)/task/*/children"
_BOUND = {
    "/etc/onionmx-tor": "/etc/onionmx-tor",
    "/run/onionmx-tor": "/onionmx-tor",
    "/run/onionmx-tor-mta": "/onionmx-tor-mta",
    "/var/lib/onionmx-tor": "/var/lib/onionmx-tor",
    "/run/host/incoming": "/systemd/nspawn/propagate/onionmx-tor",
}
"""Mount points, and what of the host is there: below /run its path on that file system. The last one is nspawn's own,
an empty folder."""
_HIDDEN = re.compile(r"/(host|systemd)/inaccessible/reg")
"""What systemd shows instead of a file: no byte, and of nobody."""
_UIDS = "\t1869479937" * 4
_LISTEN = f"""\
import socket
server = socket.create_server(("0.0.0.0", {_PORT}))
while True:
    connection, peer = server.accept()
    print(peer[0], file=open("/root/heard", "a"), flush=True)
    connection.close()
"""


def prove(machine: Machine) -> None:
    """Look at tor's process, its mounts and its files, and try to reach what it must not reach."""
    leader = machine.run(_LEADER).strip()
    _process(machine, leader)
    _files(machine, leader)
    _network(machine, leader)


def _process(machine: Machine, leader: str) -> None:
    status = machine.run(f"cat /proc/{leader}/status")
    for line in (f"Uid:{_UIDS}", "CapBnd:\t0000000000000000", "CapEff:\t0000000000000000", "NoNewPrivs:\t1"):
        if line not in status:
            raise MachineError(f"tor in its machine has not {line!r}")
    if "\nSeccomp:\t2" not in status:
        raise MachineError("tor in its machine has no filter of system calls")
    seen = machine.run(f"ls /proc/{leader}/root/proc | grep -x '[0-9]*'").split()
    if seen != ["1"]:
        raise MachineError(f"processes that tor's machine sees: {seen}")
    for space in ("mnt", "pid", "net", "ipc", "uts", "user"):
        own, host = machine.read(f"readlink /proc/{leader}/ns/{space} /proc/1/ns/{space}").split()
        if own == host:
            raise MachineError(f"the machine shares the host's {space} namespace")


def _files(machine: Machine, leader: str) -> None:
    machine.run("echo secret >/etc/of-the-host && mkdir -p /srv && echo secret >/srv/of-the-host")
    inside = f"/proc/{leader}/root"
    ours = {line.split()[2] for line in machine.read("cat /proc/1/mountinfo").splitlines()}
    found = {}
    for line in machine.run(f"cat /proc/{leader}/mountinfo").splitlines():
        words, _, kind = line.partition(" - ")
        device, place, point = words.split()[2:5]
        # A control group of its own is all that it has of those file systems.
        if device in ours and not kind.startswith("cgroup") and not _HIDDEN.fullmatch(place):
            found[point] = place
    root = found.pop("/")
    if not re.fullmatch(r".*/var/lib/onionmx-machine/roots/[0-9]+", root) or found != _BOUND:
        raise MachineError(f"the machine's root is {root}, and of the host it has {found}")
    pruned = " ".join(f"-path {inside}{point} -prune -o" for point in _BOUND)
    listed = machine.read(f"find {inside}/ -xdev {pruned} -type f -printf '%m %u %P\\n'").splitlines()
    for line in listed:
        mode, owner, path = line.split(" ", 2)
        if owner != "root" or int(mode, 8) & 0o6022:
            raise MachineError(f"{path} has mode {mode} and owner {owner}")
        if re.search(r"bin/|(^|/)(sh|bash|dash|apt|dpkg)$", path) and path not in {"usr/bin/tor", "usr/bin/getent"}:
            raise MachineError(f"the root has {path}")
    if not any(line.endswith(" usr/bin/tor") for line in listed):
        raise MachineError(f"tor is not among the files of its machine: {listed}")
    if machine.code(f"ls {inside}/etc/of-the-host || ls {inside}/srv/of-the-host") == 0:
        raise MachineError("a file of the host is in the machine")
    print(machine.read(f"du -sh {inside}/usr"), flush=True)


def _network(machine: Machine, leader: str) -> None:
    machine.run(f"rm -f /root/heard; python3 -c '{_LISTEN}' >/dev/null 2>&1 & echo $! >/root/listener")
    with _heard(ROUTER) as neighbour, _heard(PRIVATE) as private, _heard(INTERNET) as internet:
        wait_until(partial(answers, HOST, _PORT), "the listener on the host, which hears a neighbour")
        own = machine.read("ip -4 -o address | grep -o 'inet [0-9.]*' | cut -d' ' -f2").split()
        closed = sorted({*own, HOST, ROUTER, PRIVATE})
        _try(machine, leader, [*closed, INTERNET])
        wait_until(lambda: bool(internet), "the machine in the Internet; else nothing here shows anything", 30)
        counted = machine.run("nft list table inet onionmx_tor | grep counter")
        # As the host's firewall does when it reloads; there is nothing else then that closes the host.
        machine.run("nft flush ruleset")
        _try(machine, leader, closed)
        machine.run("systemctl restart nftables && nft list table inet onionmx_tor >/dev/null")
        machine.run("systemctl reload nftables && nft list table inet onionmx_tor | grep masquerade")
        if internet != [HOST]:
            raise MachineError(f"it is seen in the Internet as {internet}")
        if neighbour or private:
            raise MachineError("the machine reaches the host's neighbours or a private network")
    heard = machine.read("cat /root/heard").split()
    machine.run("kill $(cat /root/listener)")
    if set(heard) != {ROUTER}:
        raise MachineError(f"the host was reached from {heard}; expected the neighbour's alone")
    if not re.search(r"packets [1-9]", counted):
        raise MachineError("no packet was dropped")


def _try(machine: Machine, leader: str, addresses: Sequence[str]) -> None:
    """Try to connect from the machine's network, to all at the same time."""
    attempt = f"import socket, sys; socket.create_connection((sys.argv[1], {_PORT}), 2)"
    each = f'nsenter --target {leader} --net python3 -c "{attempt}" $address 2>&1 | tail -n 1 &'
    machine.run(f"for address in {' '.join(addresses)}; do {each} done; wait")


@contextmanager
def _heard(address: str) -> Iterator[list[str]]:
    """Listen at an address of the Internet; gives the list of those who have connected."""
    heard: list[str] = []
    with socket.create_server((address, _PORT)) as server:

        def listen() -> None:
            with suppress(OSError):
                while True:
                    connection, peer = server.accept()
                    heard.append(peer[0])
                    connection.close()

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield heard
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
