"""The circuits of clients as addresses: `HiddenServiceExportCircuitID haproxy` of tor(1). No I/O."""

from ipaddress import AddressValueError, IPv6Address, IPv6Network

CIRCUITS = IPv6Network("fc00:dead:beef:4dad::/96")
"""Tor writes its global identifier of the circuit behind this (connection_edge.c, export_hs_client_circuit_id)."""


def circuit_of(address: str) -> int | None:
    """The number by which tor's control port knows the circuit; `None` for an address that is not a circuit's.

    Tor counts from 1, and writes 0 where it knows no circuit.

    Args:
        address: of a client, as an MTA writes it.
    """
    try:
        number = IPv6Address(address)
    except AddressValueError:
        return None
    if number.scope_id is not None or number not in CIRCUITS:
        return None
    return int(number) & 0xFFFFFFFF or None
