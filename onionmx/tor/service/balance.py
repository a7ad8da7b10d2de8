"""The file that makes a service an instance behind an Onionbalance front; no I/O (tor(1), OnionBalanceInstance)."""

from onionmx.errors import InputError
from onionmx.onion import parse_onion
from onionmx.tor.service.torrc import parse_torrc

OB_CONFIG = "ob_config"
"""File in the HiddenServiceDir with the addresses of the fronts."""
INSTANCE = "HiddenServiceOnionBalanceInstance"
_FRONT = "MasterOnionAddress"


def format_ob_config(front: str) -> str:
    """Its text for one front."""
    return f"{_FRONT} {front}\n"


def parse_ob_config(text: str) -> tuple[str, ...]:
    """Read the fronts; options of other kinds do not matter, as for tor.

    Raises:
        InputError: there is none, or one is not an onion address: tor would not take the service.
    """
    fronts = [option.value for option in parse_torrc(text) if option.keyword.lower() == _FRONT.lower()]
    if not fronts:
        raise InputError(f"expected a line {_FRONT} ONION")
    return tuple(parse_onion(front) for front in fronts)
