"""Exim asks for the route of a mapped domain, again and again, while onionmx is replaced by dpkg and by pip."""

import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from tests.e2e.daemon import Daemon, free_ports
from tests.e2e.programs import find_program
from tests.onions import V3_ONION

from .package import export, online
from .sandbox import chroot

REPLACEMENTS = 10
"""Of the package, and as many of what pip has installed."""
LOAD = 2
"""Exims that ask at the same time."""
PATIENCE = 120.0
"""Seconds for an answer of Exim."""
MAPPED, UNMAPPED = "alice@mapped.example", "alice@unmapped.example"
_TO_TOR, _TO_THE_NEXT, _WAITS = "transport = onionmx_smtp", "router = clearnet", "cannot be resolved at this time"
_NEXT = """\
clearnet:
  driver = accept
  domains = ! +local_domains
  transport = remote_smtp
"""
_MAP = f"echo {MAPPED.partition('@')[2]} {V3_ONION} | onionmx map import -"
_PACKAGE = f"""\
apt-get -q update
apt-get -qy --no-install-recommends install /root/onionmx.deb
sed -i "s/^dc_use_split_config=.*/dc_use_split_config='true'/" /etc/exim4/update-exim4.conf.conf
cp -r /usr/share/onionmx/exim/conf.d/. /etc/exim4/conf.d/
{_MAP}
update-exim4.conf && exim4 -bV
echo "version: $(exim4 -bV | sed -n 's/^Exim version \\([^ ]*\\).*/Exim \\1/p')"
echo "version: $(python3 --version)"
# The same package with a higher version.
dpkg-deb --raw-extract /root/onionmx.deb /root/tree
sed -i 's/^Version: .*/&+1/' /root/tree/DEBIAN/control
dpkg-deb --root-owner-group -Znone --build /root/tree /root/newer.deb"""
_BY_DPKG = [f"dpkg -i /root/{name}.deb" for name in ("newer", "onionmx")]
_VENV = f"""\
dpkg --purge onionmx
apt-get -qy --no-install-recommends install python3-venv
cd /root/onionmx
python3 -m venv /opt/onionmx
ENABLE_DJB_HASH_CEXT=0 /opt/onionmx/bin/pip install -q .
ln -s /opt/onionmx/bin/onionmx /opt/onionmx/bin/onionmx-route /usr/bin/
{_MAP}
/opt/onionmx/bin/pip wheel -q --no-deps -w /root/wheels ."""
_BY_PIP = ["/opt/onionmx/bin/pip install -q --force-reinstall --no-deps --no-index /root/wheels/onionmx-*.whl"]


class UpgradeError(Exception):
    """Mail for a mapped domain went another way, or nothing was tried."""


def prove(root: Path, package: Path) -> None:
    """Replace it under load.

    Args:
        root: with Debian's Exim and tor, which run only as this function runs them.
        package: to be installed.
    """
    env = online(root)
    export(root / "root/onionmx")
    (root / "root/onionmx.deb").write_bytes(package.read_bytes())
    (root / "etc/exim4/conf.d/router/195_clearnet").write_text(_NEXT)
    [port] = free_ports(1)
    (root / "etc/exim4/conf.d/main/000_localmacros").write_text(f"ONIONMX_DNSPORT = 127.0.0.1:{port}\n")
    chroot(root, _PACKAGE, env)
    with _names(root / "root", port):
        _under_load(root, "dpkg", _BY_DPKG)
        chroot(root, _VENV, env)
        _under_load(root, "pip", _BY_PIP)


@contextmanager
def _names(folder: Path, port: int) -> Iterator[None]:
    """Run a tor for its DNSPort alone, which needs no network; its files are in the folder."""
    torrc = folder / "torrc"
    torrc.write_text(
        f"DataDirectory {folder}/tor\nSocksPort 0\nDNSPort 127.0.0.1:{port}\nAutomapHostsOnResolve 1\n"
        # An authority that does not exist: this tor asks nobody else.
        f"DirAuthority nobody orport=9 no-v2 v3ident={'0' * 40} 127.0.0.1:9 {'0' * 40}\n"
    )
    tor = Daemon("tor", [find_program("tor"), "--defaults-torrc", "/dev/null", "-f", torrc], folder)
    tor.start()
    try:
        tor.wait_for_log("Opened DNS listener")
        yield
    finally:
        tor.stop()


def _route(root: Path, address: str) -> str:
    command = ["chroot", str(root), "/usr/sbin/exim4", "-bt", address]
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=PATIENCE
    ).stdout


class _Askers:
    """They ask until they are ended, and note what they hear."""

    def __init__(self, ask: Callable[[], str]) -> None:
        self.outcomes: Counter[str] = Counter()
        self.leaks: list[str] = []
        self._ask = ask
        self._answered = threading.Condition()
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(LOAD)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def wait(self) -> None:
        """Wait for one more answer."""
        with self._answered:
            before = self.outcomes.total()
            if not self._answered.wait_for(lambda: self.outcomes.total() > before, PATIENCE):
                raise UpgradeError("Exim does not answer any more")

    def _run(self) -> None:
        while not self._ended.is_set():
            said = self._ask()
            known = next((words for words in (_TO_TOR, _WAITS) if words in said), "")
            with self._answered:
                if not known or _TO_THE_NEXT in said:
                    self.leaks.append(said)
                self.outcomes[known or "something else"] += 1
                self._answered.notify_all()


def _under_load(root: Path, name: str, commands: Sequence[str]) -> None:
    """Run these commands in turn while Exim asks; it must find the route before and after, and never another one."""
    for address, expected in ((MAPPED, _TO_TOR), (UNMAPPED, _TO_THE_NEXT)):
        if expected not in (said := _route(root, address)):
            raise UpgradeError(f"{name}: at the beginning, expected {expected!r}: {said}")
    with _Askers(lambda: _route(root, MAPPED)) as askers:
        for number in range(REPLACEMENTS):
            askers.wait()
            chroot(root, commands[number % len(commands)])
    print(f"{name}: {REPLACEMENTS} replacements; answers: {dict(askers.outcomes)}", flush=True)
    if askers.leaks:
        raise UpgradeError(f"{name}: {len(askers.leaks)} answers were leaks, such as: {askers.leaks[0]}")
    if _TO_TOR not in (said := _route(root, MAPPED)) or not askers.outcomes[_TO_TOR]:
        raise UpgradeError(f"{name}: {dict(askers.outcomes)}; at the end: {said}")
