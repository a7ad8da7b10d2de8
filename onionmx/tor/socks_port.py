"""The flags of the client port, which mail should go out through."""

from typing import TYPE_CHECKING

from onionmx.config import Address, parse_server
from onionmx.tor.reach import socks_in_use

if TYPE_CHECKING:
    from stem.control import Controller

FLAGS = {
    "OnionTrafficOnly": "nothing but onions leaves through it, so that no mistake sends mail over the clearnet",
    "ExtendedErrors": "tor says why an onion cannot be reached, and the relay tells the MTA",
}
"""Flags of a SocksPort that matter for mail, with the reason (tor(1), SocksPort)."""

OPTION = "SocksPort"


def missing_flags(line: str) -> list[str]:
    """The flags that a SocksPort line lacks, for its value in torrc."""
    words = {word.lower() for word in line.split()[1:]}
    return [flag for flag in FLAGS if flag.lower() not in words]


def socks_ports(controller: "Controller") -> list[str]:
    """The values of all SocksPort lines; tor's own 9050 where there is none.

    Raises:
        stem.ControllerError: tor cannot be asked; `open_control` makes a ControlError of it.
    """
    values = [value for value in controller.get_conf(OPTION, [], multiple=True) if value]
    return values or ["9050"]


def leads_to(line: str, address: Address) -> bool:
    """Whether a SocksPort line opens this address."""
    where = line.split(maxsplit=1)[0]
    if where.isdigit():
        return address == ("127.0.0.1", int(where))
    try:
        return parse_server(where.replace('"', "")) == address  # tor takes unix:"/path" too
    except ValueError:  # auto, or a host name
        return False


def client_port_advice(controller: "Controller", socks: str) -> list[str]:
    """What the client port should have in torrc, as lines for an operator; empty where it has it.

    The port is the operator's, and may serve others too: it is never changed here.

    Raises:
        stem.ControllerError: tor cannot be asked; `open_control` makes a ControlError of it.
    """
    socks = socks_in_use(socks)
    address = parse_server(socks)
    ports = socks_ports(controller)
    missing = next((missing_flags(line) for line in ports if leads_to(line, address)), [])
    if not missing:
        return []
    lines = [f"# advice for the client port {socks}, in torrc:"]
    lines += [f"# {flag}: {FLAGS[flag]}" for flag in missing]
    # All of them: a single line takes the place of the ports that tor has by default.
    for line in ports:
        words = [OPTION, line, *(missing if leads_to(line, address) else [])]
        lines.append(" ".join(words))
    return lines
