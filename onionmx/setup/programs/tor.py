"""tor's part: a client port for mail, its DNSPort where Exim connects by itself, the onion service; texts only."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from onionmx.config import UNIX, parse_socket
from onionmx.defaults import DNSPORT
from onionmx.errors import ConfigurationError
from onionmx.onion import DEFAULT_PORT
from onionmx.setup.programs.blocks import appended
from onionmx.tor.service.torrc import (
    DIRECTORY,
    PORT,
    Forward,
    Option,
    ServiceBlock,
    block_options,
    parse_torrc,
    service_blocks,
)
from onionmx.tor.service.wanted import WantedService, is_trusted_address
from onionmx.tor.socks_port import missing_flags

TORRC = "/etc/tor/torrc"
DEFAULTS = "/usr/share/tor/tor-service-defaults-torrc"
"""Debian's options, under those of torrc (tor(1), --defaults-torrc)."""
SOCKET = f"{UNIX}/run/tor/onionmx.sock"
"""In the folder where Debian's tor has its own sockets."""
EXIM_SOCKS = "127.0.0.1:905"
"""Exim's SOCKS transport speaks TCP alone, and does not look who listens. Below 1024 that is root or tor: no other user
of this machine can listen there while tor is down."""
_OWN_PORT = "9050"  # what tor opens where no SocksPort is set
_ONION_ONLY = "OnionTrafficOnly"
_DNS = "dnsport"
_SOCKS = "socksport"
_AUTOMAP = "automaphostsonresolve"


@dataclass(frozen=True, slots=True)
class TorPorts:
    """What tor opens for mail, and where it leads.

    Attributes:
        client: lines that torrc lacks for clients.
        service: lines that it lacks for the onion service.
        relay_socks: the client port of relay, sync and probes; empty where none is wanted.
        exim_socks: that of Exim's own transport; empty where Exim has none.
        dnsport: with virtual addresses; empty where none is wanted.
        directory: HiddenServiceDir of the onion service for mail; empty where none is wanted.
        forward: where it leads to.
    """

    client: tuple[Option, ...]
    service: tuple[Option, ...] = ()
    relay_socks: str = ""
    exim_socks: str = ""
    dnsport: str = ""
    directory: str = ""
    forward: Forward | None = None

    @property
    def client_lines(self) -> str:
        """As text; empty where torrc lacks nothing."""
        return "".join(f"{line}\n" for line in self.client)

    @property
    def service_lines(self) -> str:
        """As text; empty where torrc lacks nothing."""
        return "".join(f"{line}\n" for line in self.service)


def ports(torrc: str, defaults: str, *, virtual_addresses: bool, receiving: Forward | None, directory: str) -> TorPorts:
    """What tor has to open for mail; a port that is there and fits is used.

    Args:
        torrc: its text, without our block.
        defaults: text of `DEFAULTS`; empty where there is none.
        virtual_addresses: whether Exim connects by itself.
        receiving: where an onion service should lead; `None` for none.
        directory: where to make it.

    Raises:
        ConfigurationError: there is a service for mail that makes the MTA an open relay, or that cannot be used.
    """
    options = _in_effect(parse_torrc(defaults), parse_torrc(torrc))
    if included := [option.value for option in options if option.keyword.lower() == "%include"]:
        raise ConfigurationError(
            f"torrc has %include {included[0]}: setup does not know what is there, and a port given twice ends tor; "
            "move those lines into torrc, or set tor up by hand (docs/postfix.md, exim/README.md)"
        )
    socks = [option.value for option in options if _keyword(option) == _SOCKS]
    lines: list[Option] = []
    relay_socks = next((address for value in socks if (address := _fitting(value, relay=True))), "")
    if not relay_socks:
        if not socks:  # ours would take the place of the one that tor opens by itself
            lines.append(Option("SocksPort", _OWN_PORT))
        lines.append(Option("+SocksPort", f"{SOCKET} WorldWritable OnionTrafficOnly ExtendedErrors"))
    exim_socks = dnsport = ""
    if virtual_addresses:
        exim_socks = next((address for value in socks if (address := _fitting(value, relay=False))), "")
        if not exim_socks:
            lines.append(Option("+SocksPort", f"{EXIM_SOCKS} {_ONION_ONLY}"))
        more, dnsport = _dns_port(options)
        lines += more
    service, new = None, False
    if receiving is not None:
        service = _mail_service(options)
        new = service is None
        service = service or WantedService(Path(directory), receiving).block()
    return TorPorts(
        tuple(lines),
        tuple(block_options(service)) if service and new else (),
        relay_socks or SOCKET,
        exim_socks or (EXIM_SOCKS if virtual_addresses else ""),
        dnsport,
        service.directory if service else "",
        next((forward for forward in service.forwards if forward.port == DEFAULT_PORT), None) if service else None,
    )


def _in_effect(defaults: Sequence[Option], torrc: Sequence[Option]) -> list[Option]:
    """The options of both files: one without + in torrc takes the place of those in the defaults (tor(1))."""
    replaced = {_keyword(option) for option in torrc if not option.keyword.startswith("+")}
    return [*(option for option in defaults if _keyword(option) not in replaced), *torrc]


def _keyword(option: Option) -> str:
    return option.keyword.lower().lstrip("+/")


def _fitting(value: str, *, relay: bool) -> str:
    """The address of a SocksPort that is good enough for mail; empty if it is not."""
    where, *flags = value.split() or [""]
    missing = missing_flags(value)
    if (missing if relay else _ONION_ONLY in missing) or (not relay and where.startswith(UNIX)):
        return ""
    if where.startswith(f"{UNIX}/") and "WorldWritable" in flags:
        return where
    return _loopback(where)


def _loopback(where: str) -> str:
    """IP:PORT of a port on this host; empty for anything else."""
    if where.isdigit() and where != "0":
        return f"127.0.0.1:{where}"
    try:
        return where if ip_address(parse_socket(where)[0]).is_loopback else ""
    except ValueError:
        return ""


def _dns_port(options: Sequence[Option]) -> tuple[list[Option], str]:
    lines: list[Option] = []
    values = [option.value.split()[0] for option in options if _keyword(option) == _DNS and option.value]
    there = next(filter(None, map(_loopback, values)), "")
    if not there:
        lines.append(Option("+DNSPort", DNSPORT))
    if not any(_keyword(option) == _AUTOMAP and option.value == "1" for option in options):
        lines.append(Option("AutomapHostsOnResolve", "1"))
    return lines, there or DNSPORT


def _mail_service(options: Sequence[Option]) -> ServiceBlock | None:
    for block in service_blocks(options):
        forward = next((one for one in block.forwards if one.port == DEFAULT_PORT), None)
        if forward is None:
            continue
        here = f"{TORRC}: {DIRECTORY} {block.directory} has {PORT} {forward}"
        try:
            host = str(ip_address(forward.target_host))
        except ValueError as error:
            raise ConfigurationError(
                f"{here}: expected an address such as 127.0.0.2:25 that the MTA listens on"
            ) from error
        if is_trusted_address(host):
            raise ConfigurationError(
                f"{here}: MTAs trust clients from {host}, and would relay mail for anybody on Tor; let it lead to "
                "127.0.0.2:25, or remove it, and run this again"
            )
        return block
    return None


# AppArmor.

APPARMOR_PROFILE = "/etc/apparmor.d/system_tor"
APPARMOR_LOCAL = "/etc/apparmor.d/local/system_tor"
"""Debian's profile lets tor make two sockets in /run/tor, by name; this file is for additions (its README)."""


def apparmor(text: str, socks: str) -> str:
    """The additions to tor's AppArmor profile, with leave for the socket."""
    path = socks.removeprefix(f"{UNIX}/run/")
    rule = f"/{{,var/}}run/{path} w,"
    return text if rule in text else appended(text, f"{rule}\n")
