"""Renewing an onion service: tor gives it up and gets it back, so that it has new introduction points and descriptors.

For a service of torrc both are a SETCONF of all services, without it and with it: a part of them cannot be set. For one
that was made over the control port it is DEL_ONION and ADD_ONION. What tor has to have back is known, and kept in the
state, before anything is taken away.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from onionmx.errors import ControlError
from onionmx.onion import SUFFIX
from onionmx.tor.service.over_control import add_again
from onionmx.tor.service.reload import own_options
from onionmx.tor.service.running import OnionService, service_options, services
from onionmx.tor.service.torrc import ENCODING, setconf, split_off
from onionmx.watch.state import Away

if TYPE_CHECKING:
    from stem.control import Controller

_ATTEMPTS = 3
_JOINED = "HSSR_JOINED"
"""State of a circuit on which a client has met the service (control-spec, CIRC)."""


def is_in_use(controller: "Controller", onion: str) -> bool:
    """Whether a client has a circuit to the service.

    Raises:
        stem.ControllerError: tor cannot be asked; `open_control` makes a ControlError of it.
    """
    label = onion.removesuffix(SUFFIX)
    return any(circuit.hs_state == _JOINED and circuit.rend_query == label for circuit in controller.get_circuits())


def take(controller: "Controller", service: OnionService, kept: Path) -> Away:
    """What tor has to have back; nothing is taken away yet.

    Args:
        service: with an address.
        kept: `onion.directory`, with the key of a service that was made over the control port.

    Raises:
        ControlError: tor would not take it back.
        ConfigurationError: the key of the service cannot be read.
        stem.ControllerError: tor cannot be asked.
    """
    assert service.onion is not None  # noqa: S101 -- nobody could probe it
    if service.directory is None:
        add_again(controller, kept)  # looks for what is needed
        return Away(service.onion)
    if controller.get_conf("Sandbox", "0") == "1":
        raise ControlError("tor runs with Sandbox 1 and would not take the service back: set it to 0 and restart tor")
    own, _ = own_options(controller, service)
    return Away(service.onion, tuple((option.keyword, option.value) for option in own))


def renew(controller: "Controller", away: Away, kept: Path) -> None:
    """Have tor give the service up and take it back.

    Args:
        away: of `take`, and saved.
        kept: as for `take`.

    Raises:
        ControlError: tor does not do so; if it has given the service up, `give_back` is to be called again.
        ConfigurationError: the key of the service cannot be read; nothing was changed.
        stem.ControllerError: the connection broke off; the same holds.
    """
    if away.options:
        own, others = split_off(service_options(controller, ENCODING), away.lines[0].value)
        if own != away.lines:
            raise ControlError("tor has other lines for the service than a moment ago: it was not touched")
        _say(controller, setconf(others))
    else:
        add_again(controller, kept)
        _say(controller, f"DEL_ONION {away.onion.removesuffix(SUFFIX)}")
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            give_back(controller, away, kept)
        except ControlError:
            if attempt == _ATTEMPTS:
                raise
        else:
            return


def give_back(controller: "Controller", away: Away, kept: Path) -> bool:
    """Have tor take a service back, unless it has it.

    Returns:
        Whether it was missing.

    Raises:
        ControlError: tor does not take it.
        ConfigurationError: the key of the service cannot be read.
        stem.ControllerError: tor cannot be asked.
    """
    if away.options:
        there, others = split_off(service_options(controller, ENCODING), away.lines[0].value)
        if there:
            return False
        _say(controller, setconf([*others, *away.lines]))
        return True
    if any(service.onion == away.onion for service in services(controller, kept)):
        return False
    add_again(controller, kept)()
    return True


def signal(controller: "Controller", command: str) -> None:
    """Have tor do `SIGNAL NEWNYM` or `DROPGUARDS`.

    Raises:
        ControlError: it does not.
    """
    _say(controller, command)


def _say(controller: "Controller", command: str) -> None:
    answer = controller.msg(command)
    if not answer.is_ok():
        raise ControlError(f"tor refuses {command.partition(' ')[0]}: {answer}")
