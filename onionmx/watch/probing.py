"""Probing an own onion service as a stranger would reach it: its descriptor, then a connection on a new circuit.

What cannot be told is not taken for a failure of the service: a connection that fails counts only if tor builds a
circuit at the same time.
"""

import asyncio
import time
from typing import TYPE_CHECKING

import stem

from onionmx.clock import Clock
from onionmx.config import Configuration, WatchSection
from onionmx.errors import TemporaryError
from onionmx.net.stream import SocketStream
from onionmx.onion import DEFAULT_PORT
from onionmx.smtp.client.dialog import Dialog, DialogError
from onionmx.smtp.printable import printable, printable_reply
from onionmx.tor.service.descriptor import Publication, published
from onionmx.tor.socks import WITHOUT_TOR, Cause, SocksConnector, SocksError
from onionmx.watch.judge import Probed, Reach

if TYPE_CHECKING:
    from stem.control import Controller

FETCH_TIMEOUT = 20.0
"""Seconds for the directories to give out the descriptor."""
CIRCUIT_TIMEOUT = 20.0
"""Seconds for circuits that show that tor works."""
_CIRCUITS = 4
GREETING_TIMEOUT = 10.0
"""Seconds for the MTA to greet and to say goodbye; the onion is reachable, whatever it says."""

_OF_THE_CLIENT = {Cause.BAD_ADDRESS, Cause.AUTHORIZATION_MISSING, Cause.AUTHORIZATION_WRONG}
"""By which nothing is known either: for a private onion MX, tor needs a key to reach it."""

Found = tuple[Reach, str]


def longest_probe(settings: WatchSection) -> float:
    """Seconds that a probe takes at most."""
    return FETCH_TIMEOUT + settings.timeout + max(CIRCUIT_TIMEOUT, GREETING_TIMEOUT)


async def probe(controller: "Controller", onion: str, configuration: Configuration, now: Clock) -> Probed:
    """Probe an onion service of this host.

    Args:
        controller: of the tor that has it.
        onion: its host name.
        configuration: tor's SOCKS port, and how long to wait.
        now: the time.

    Raises:
        stem.ControllerError: the control port cannot be asked any more.
    """
    begun = now()
    reach, words = await _reach(controller, onion, configuration)
    return Probed(reach, printable(words), begun, now())


async def _reach(controller: "Controller", onion: str, configuration: Configuration) -> Found:
    # First, as tor would connect by a descriptor that it fetched hours ago.
    within = min(FETCH_TIMEOUT, configuration.watch.timeout)
    descriptor = await asyncio.to_thread(published, controller, onion, within)
    if descriptor.state is not Publication.PUBLISHED and descriptor.without:
        return Reach.FAILED, descriptor.words
    tor = configuration.tor
    # A connector of its own: a new token, and so a new circuit, each time.
    connector = SocksConnector(tor.socks, configuration.watch.timeout, tor.user)
    token = connector.isolation(onion)
    try:
        stream = await SocketStream.from_socket(await connector.connect((onion, DEFAULT_PORT)))
    except SocksError as error:
        return await asyncio.to_thread(_failed, controller, error, token)
    except TemporaryError as error:
        return Reach.UNKNOWN, str(error)
    return Reach.REACHABLE, await _greeting(stream, configuration.relay.ehlo_name)


def _failed(controller: "Controller", error: SocksError, token: str) -> Found:
    if error.cause in WITHOUT_TOR | _OF_THE_CLIENT:
        return Reach.UNKNOWN, error.words
    if _has_met(controller, token):
        return Reach.REACHABLE, f"the onion service answers, but not the MTA behind it: {error.words}"
    if builds_circuits(controller):
        return Reach.FAILED, error.words
    return Reach.UNKNOWN, f"{error.words}; but tor builds no circuit at all now"


def _has_met(controller: "Controller", token: str) -> bool:
    """Whether the service came to the rendezvous on our circuit: what fails is behind it then, the MTA.

    tor says "general failure" where nothing listens behind a service, and the circuit stays.

    Args:
        token: isolation of the probe; no other connection has it.
    """
    circuits = controller.get_circuits()
    return any(circuit.hs_state == "HSCR_JOINED" and circuit.socks_password == token for circuit in circuits)


def builds_circuits(controller: "Controller") -> bool:
    """Whether tor builds a new circuit, and so has a network; it is closed again.

    The first ones may fail: by them tor finds out that a guard is gone, and takes another.

    Raises:
        stem.ControllerError: the control port cannot be asked.
    """
    deadline = time.monotonic() + CIRCUIT_TIMEOUT
    for _ in range(_CIRCUITS):
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        try:
            circuit = controller.new_circuit(await_build=True, timeout=left)
        except (stem.CircuitExtensionFailed, stem.Timeout, stem.OperationFailed, stem.InvalidRequest):
            continue
        controller.msg(f"CLOSECIRCUIT {circuit}")  # nothing depends on it
        return True
    return False


async def _greeting(stream: SocketStream, hello: str) -> str:
    dialog = Dialog(stream, hello, GREETING_TIMEOUT)
    try:
        return printable_reply(await dialog.greet())
    except DialogError as error:
        return f"connected, but the MTA does not greet: {error}"
    finally:
        await dialog.close()
