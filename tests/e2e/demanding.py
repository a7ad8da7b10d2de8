"""Domains that demand a certificate of their MX, the Exim that has it, and that of an attacker who has not."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.net.certificates import Issued, issue

from .exim import ONION_CLIENTS, Exim
from .exim_tls import EximWithTls
from .name_servers import Zone
from .socks import Address
from .tor_network import TorNetwork

STS = "sts.test"
DANE = "dane.test"
ELSEWHERE = "elsewhere.test"
"""An unsigned zone into which the signed one leads by an alias."""
MX = f"mx.{STS}"
DANE_MX = f"mx.{DANE}"

ROOT = issue(is_ca=True, common_name="Root")
BETWEEN = issue(is_ca=True, ca=ROOT, common_name="Between")
RIGHT = issue(MX, DANE_MX, ca=BETWEEN)
ATTACKER = issue(MX, DANE_MX)
"""He can put any name into a certificate, but nobody vouches for it."""
CHAINS: Mapping[str, Sequence[Issued]] = {"right": (RIGHT, BETWEEN, ROOT), "attacker": (ATTACKER,)}
POLICY = f"version: STSv1\nmode: enforce\nmx: {MX}\nmax_age: 604800\n".encode()


def srv(name: str, onion: str) -> str:
    """An SRV record."""
    return f"{name} 60 SRV 0 5 25 {onion}."


def sts_zone(onion: str = "") -> Zone:
    """The zone of a domain with MTA-STS, with the record of an onion MX or without."""
    record = srv("_onion-mx._tcp", onion) if onion else ""
    return Zone(f'{record}\n_mta-sts 60 TXT "v=STSv1; id=1;"\n@ MX 10 mx\nmx A 127.0.0.1')


def dane_zone(usage: int, of: Issued) -> Zone:
    """The zone of a domain with DANE, whose record of the onion MX is an alias into `ELSEWHERE`."""
    digest = hashlib.sha256(of.der).hexdigest()
    records = (
        f"_onion-mx._tcp 60 CNAME _onion-mx._tcp.{ELSEWHERE}.\n@ MX 10 mx\nmx A 127.0.0.1\n"
        f"_25._tcp.mx 60 TLSA {usage} 0 1 {digest}"
    )
    return Zone(records, signed=True)


@contextmanager
def onion_servers(tor: TorNetwork, folder: Path) -> Iterator[dict[str, Exim]]:
    """The Exim of the domains, and the attacker's, by onion."""
    with ExitStack() as started:
        found: dict[str, Exim] = {}
        for name, chain in CHAINS.items():
            exim = started.enter_context(EximWithTls(folder / name, MX, [STS, DANE], *chain))
            onion = tor.add_onion_service({25: (ONION_CLIENTS, exim.port)})
            started.callback(tor.remove_onion_service, onion)
            tor.client.wait_until_reachable(onion)
            found[onion] = exim
        yield found


@contextmanager
def policy_hosts(tor: TorNetwork, names: Sequence[str], address: Address) -> Iterator[None]:
    """Have Tor lead to a server for policies, which cannot have the port of HTTPS for itself: by an onion service."""
    onion = tor.add_onion_service({443: address})
    try:
        with tor.client.controller() as controller:
            controller.map_address(dict.fromkeys(names, onion))
            tor.client.wait_until_reachable(names[0], 443)
            yield
            controller.map_address({name: name for name in names})
    finally:
        tor.remove_onion_service(onion)
