"""Closing circuits of clients of this tor's onion services (control-spec, CLOSECIRCUIT)."""

from collections.abc import Iterable
from enum import StrEnum

from stem import CircPurpose, InvalidArguments
from stem.control import Controller


class Closing(StrEnum):
    """What came of closing a circuit."""

    CLOSED = "closed"
    GONE = "gone"
    """Tor has no such circuit."""
    FOREIGN = "foreign"
    """It is not one by which a client has reached an onion service of this tor, and was left alone."""


def close_circuits(controller: Controller, wanted: Iterable[int]) -> dict[int, Closing]:
    """Close circuits, each of which must be one by which a client has reached an onion service of this tor.

    Args:
        controller: logged in.
        wanted: the circuits' global identifiers.

    Raises:
        stem.ControllerError: as of `onionmx.tor.control.open_control`, which translates it.
    """
    purposes = {circuit.id: circuit.purpose for circuit in controller.get_circuits()}
    return {number: _close(controller, str(number), purposes) for number in wanted}


def _close(controller: Controller, name: str, purposes: dict[str, str]) -> Closing:
    if name not in purposes:
        return Closing.GONE
    if purposes[name] != CircPurpose.HS_SERVICE_REND:
        return Closing.FOREIGN
    try:
        controller.close_circuit(name)
    except InvalidArguments:  # it has ended since
        return Closing.GONE
    return Closing.CLOSED
