"""tor's ports for this machine: SOCKS with its flags, DNS with virtual addresses, and who can reach them.

A SOCKS port is judged by what it does. What torrc says is not enough: tor gives a port that is open already no new
flags at a reload, only at a restart.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING

from onionmx.config import UNIX, TorSection, parse_server, parse_socket
from onionmx.doctor.checks.tor_process import CONTROL, TOR
from onionmx.doctor.finding import Finding, blocking, not_checked, ok, problem, warning
from onionmx.doctor.machine import RESTART, Machine, in_thread
from onionmx.doctor.runner import Check, Topic
from onionmx.errors import AutomapError, ControlError, OwnerError, TemporaryError
from onionmx.onion import Endpoint
from onionmx.tor.automap import DEFAULT_TIMEOUT, resolve
from onionmx.tor.nobody import BAD_CHECKSUM_ONION, UNUSED_ONION
from onionmx.tor.reach import reach, socks_in_use
from onionmx.tor.socks import Cause, SocksError

if TYPE_CHECKING:
    from stem.control import Controller

SOCKS = Topic(
    "socks",
    "tor's SOCKS port answers, and is tor's",
    "the relay and Exim's transport reach onions through it alone",
    essential=True,
)
EXTENDED_ERRORS = Topic(
    "extended-errors",
    "the SOCKS port has the flag ExtendedErrors",
    "without it tor reports every failure alike, and a dead onion MX cannot be told from a mistyped address",
)
ONION_TRAFFIC_ONLY = Topic(
    "onion-traffic-only",
    "the SOCKS port has the flag OnionTrafficOnly",
    "without it a mistake in a transport sends mail through an exit relay to the open internet, where its operator "
    "can read along",
)
DNSPORT = Topic(
    "dnsport",
    "tor's DNSPort answers",
    "Exim's route helper asks it for the virtual addresses of onions; without it mail for them waits in the queue",
)
AUTOMAP = Topic(
    "automap",
    "AutomapHostsOnResolve is on",
    "without it the DNSPort has no addresses for onions, and Exim cannot connect to any",
)
LISTENERS = Topic(
    "listeners",
    "tor's own ports listen on loopback only",
    "anyone who reaches the control port owns tor and the keys of the onion service; through another port he uses this "
    "tor as if it were this machine",
)

_QUICK = 15.0  # seconds; both questions are answered by tor itself, at once
_LISTENERS = {
    "SocksPort": "socks",
    "DNSPort": "dns",
    "ControlPort": "control",
    "TransPort": "trans",
    "NATDPort": "natd",
    "HTTPTunnelPort": "httptunnel",
}
"""Options in torrc by the keys of `GETINFO net/listeners/` (control-spec)."""
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_NO_EXIT = ("127.0.0.1", 9)
"""A destination that no exit relay would connect to, if tor, against all its defaults, tried it."""
_NOT_THERE = {Cause.PROXY_UNREACHABLE, Cause.PROXY_SILENT, Cause.TIMEOUT}
_HTTP_TO_TOR = b"Tor is not an HTTP Proxy"


async def look_at_socks(machine: Machine) -> Sequence[Finding]:
    """Ask the SOCKS port for two things that tor refuses by itself, and see with which words."""
    where = socks_in_use(machine.configuration.tor.socks)
    mistyped, clear = await asyncio.gather(_failure(machine, (BAD_CHECKSUM_ONION, 25)), _failure(machine, _NO_EXIT))
    cause = mistyped.cause if mistyped else None
    foreign = mistyped.words if mistyped and cause in {Cause.WRONG_SERVICE, Cause.FOREIGN} else ""
    if mistyped and cause is Cause.HOST_UNKNOWN:
        return judge_unknown_host(mistyped.words)
    is_clear = bool(foreign) or cause is Cause.BAD_ADDRESS or cause in _NOT_THERE
    if not is_clear and not await _is_tor(where, machine.configuration.tor.user):
        foreign = f"what answers at {where} is not tor"
    return judge_socks(where, cause, clear.cause if clear else None, foreign=foreign)


def judge_unknown_host(seen: str) -> list[Finding]:
    """Judge a SOCKS port whose host cannot be found.

    Args:
        seen: why, in words.
    """
    unknown = [not_checked(topic.name, seen, cause=SOCKS.name) for topic in (EXTENDED_ERRORS, ONION_TRAFFIC_ONLY)]
    return [blocking(problem(SOCKS.name, seen, Cause.HOST_UNKNOWN.advice), TOR.name), *unknown]


def judge_socks(where: str, mistyped: Cause | None, clear: Cause | None, *, foreign: str = "") -> list[Finding]:
    """Judge a SOCKS port by its refusals.

    Args:
        where: the port, as in the configuration.
        mistyped: why there is no connection to a mistyped onion; `None` if there is one.
        clear: the same for a destination that is no onion.
        foreign: what it is, in words, where the port is not tor's.
    """
    is_unix = where.startswith(UNIX)  # the + keeps the ports that are there; without the flag only tor may connect
    words = f"+SocksPort {where} WorldWritable" if is_unix else f"SocksPort {where}"
    line = f"torrc: {words} ExtendedErrors OnionTrafficOnly\n{RESTART}"
    if mistyped in _NOT_THERE:
        seen = f"nothing answers at {where}" if mistyped is Cause.PROXY_UNREACHABLE else f"{where} does not reply"
        silent = problem(SOCKS.name, f"{seen}: tor does not run, or its SOCKS port is another", line)
        unknown = [not_checked(topic.name, seen, cause=SOCKS.name) for topic in (EXTENDED_ERRORS, ONION_TRAFFIC_ONLY)]
        return [blocking(silent, TOR.name), *unknown]
    if foreign:
        other = problem(SOCKS.name, foreign, line, "another proxy would ask the open DNS for onion names")
        unknown = [
            not_checked(topic.name, foreign, cause=SOCKS.name) for topic in (EXTENDED_ERRORS, ONION_TRAFFIC_ONLY)
        ]
        return [blocking(other), *unknown]
    return [
        ok(SOCKS.name, f"tor answers at {where}"),
        ok(EXTENDED_ERRORS.name, "a mistyped onion is called so (F6)")
        if mistyped is Cause.BAD_ADDRESS
        else warning(EXTENDED_ERRORS.name, f"a mistyped onion gives a general failure at {where}", line),
        _judge_clear(where, clear, line),
    ]


def _judge_clear(where: str, clear: Cause | None, line: str) -> Finding:
    if clear is Cause.NOT_ALLOWED:
        return ok(ONION_TRAFFIC_ONLY.name, "destinations that are not onions are refused")
    if clear in _NOT_THERE:
        return not_checked(ONION_TRAFFIC_ONLY.name, f"{where} gave no answer")
    return warning(ONION_TRAFFIC_ONLY.name, f"{where} does not refuse destinations that are not onions", line)


async def look_at_dnsport(machine: Machine) -> Sequence[Finding]:
    """Ask the DNSPort for the virtual address of an onion that does not exist."""
    settings = machine.configuration.tor
    # Postfix hands mail to the relay, which needs no virtual addresses.
    blame = warning if machine.configuration.map.transport_path else problem
    lines = f"torrc: DNSPort {settings.dnsport}\ntorrc: AutomapHostsOnResolve 1\nsystemctl reload tor@default"
    try:
        where = parse_socket(settings.dnsport)
        answers = await in_thread(lambda: resolve([UNUSED_ONION], where, DEFAULT_TIMEOUT, settings.user))
    except AutomapError as error:
        silent = blocking(blame(DNSPORT.name, str(error), lines), TOR.name)
        return [silent, not_checked(AUTOMAP.name, str(error), cause=DNSPORT.name)]
    answers_at = ok(DNSPORT.name, f"something answers at {settings.dnsport}")
    answer = answers[UNUSED_ONION]
    if isinstance(answer, AutomapError):
        return [answers_at, blame(AUTOMAP.name, f"at {settings.dnsport}: {answer}", lines)]
    return [answers_at, ok(AUTOMAP.name, f"an onion has the virtual address {answer}")]


async def look_at_listeners(machine: Machine) -> Sequence[Finding]:
    """Ask tor where it listens, and whom it lets in."""
    try:
        listeners, policy = await machine.ask_tor(lambda tor: (_read_listeners(tor), _read_policy(tor)))
    except ControlError as error:
        return [not_checked(LISTENERS.name, f"tor cannot be asked: {error}", cause=CONTROL.name)]
    return judge_listeners(listeners, policy, machine.configuration.tor)


def judge_listeners(
    listeners: Mapping[str, Sequence[str]], policy: Sequence[str], settings: TorSection
) -> list[Finding]:
    """Look for ports that others can reach.

    Args:
        listeners: by the name of the option in torrc: IP:PORT or unix:/path.
        policy: SocksPolicy, which holds for the SOCKS port and the DNSPort.
        settings: an address that they name is meant so, where tor has a machine of its own.
    """
    findings = []
    keeps_others_out = any(rule.startswith("reject *") for rule in policy)
    for option, address in ((option, address) for option, found in listeners.items() for address in found):
        if address.startswith(UNIX) or ip_address(parse_socket(address)[0]).is_loopback:
            continue
        seen = f"{option} listens on {address}"
        if option not in {"SocksPort", "DNSPort"} or address not in {settings.socks, settings.dnsport}:
            # Where there is a control socket, nobody needs a port that any local user can reach.
            has_socket = option == "ControlPort" and any(other.startswith(UNIX) for other in listeners[option])
            value = "0" if has_socket else f"127.0.0.1:{parse_socket(address)[1]}"
            findings.append(problem(LISTENERS.name, seen, f"torrc: {option} {value}\n{RESTART}"))
        elif not keeps_others_out:
            lines = "torrc: SocksPolicy accept ADDRESS_OF_THE_MX\ntorrc: SocksPolicy reject *"
            findings.append(warning(LISTENERS.name, f"{seen}, as the configuration says, for everybody", lines))
    count = sum(map(len, listeners.values()))
    return findings or [ok(LISTENERS.name, f"{count} listeners; none can be reached from other hosts")]


async def _failure(machine: Machine, destination: Endpoint) -> SocksError | None:
    try:
        async with asyncio.timeout(_QUICK):
            connection = await machine.parts.socks.connect(destination)
    except SocksError as error:
        return error
    except TimeoutError:
        return SocksError(destination, Cause.TIMEOUT)
    connection.close()
    return None


async def _is_tor(where: str, user: str) -> bool:
    """Whether it answers a question in HTTP as only tor does.

    Raises:
        TemporaryError: nothing answers any more, or it cannot be told who would.
    """
    try:
        async with asyncio.timeout(_QUICK):
            reader, writer = await asyncio.open_connection(sock=await reach(parse_server(where), user))
            try:
                writer.write(b"GET / HTTP/1.0\r\n\r\n")
                return _HTTP_TO_TOR in await reader.read(1024)
            finally:
                writer.close()
    except ConnectionResetError:
        return False
    except (OSError, OwnerError) as error:
        raise TemporaryError(f"what answers at {where} could not be asked whether it is tor: {error}") from error


def _read_listeners(controller: "Controller") -> dict[str, list[str]]:
    return {
        option: _QUOTED.findall(controller.get_info(f"net/listeners/{kind}", "")) for option, kind in _LISTENERS.items()
    }


def _read_policy(controller: "Controller") -> list[str]:
    rules: list[str] = controller.get_conf("SocksPolicy", multiple=True)
    return [rule.strip() for line in rules for rule in line.split(",")]


CHECKS = (
    Check((SOCKS, EXTENDED_ERRORS, ONION_TRAFFIC_ONLY), look_at_socks),
    Check((DNSPORT, AUTOMAP), look_at_dnsport),
    Check((LISTENERS,), look_at_listeners),
)
