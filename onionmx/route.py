"""`onionmx-route`: the helper that Exim runs for each message.

    onionmx-route [--map FILE] [--released FILE] [--dnsport HOST:PORT] [--timeout S] [--tor-user USER] DOMAIN

It looks the domain up in the map, asks Tor's DNSPort for a virtual address of each target, and prints the host list
for Exim's `route_data`: `ip` or `ip::port`, joined by colons, in route order.

Exim runs it as root: it becomes the user onionmx, or nobody where that does not exist, before it reads the map or asks
tor (privileges.py).

Exit codes: 0 found; 1 no route for this domain; 68 no onion service can have this name, which only Tor may hear; 75
could not tell or could not resolve; 64 usage. Only 0 says all by its number: Python itself ends with 1 when it cannot
start, so 1 and 68 hold together with the words on standard error, which begin with the domain as it was given:

    onionmx-route: DOMAIN: no entry in the map
    onionmx-route: DOMAIN: released by the fallback rules

It is beside `onionmx.cli` at the top: nothing imports it, it reads no configuration file, and every module that
it loads is counted, because Exim waits for it once for each message.
"""

from __future__ import annotations

import os
import sys

from onionmx.defaults import DNSPORT, MAP_PATH, RELEASED_PATH, TOR_USER, USER
from onionmx.domain import normalize, shown
from onionmx.errors import (
    EXIT_FOUND,
    EXIT_NO_ROUTE,
    EXIT_REFUSED,
    EXIT_TEMPORARY,
    EXIT_USAGE,
    AutomapError,
    DomainError,
    MapError,
    OnionError,
    OnionmxError,
    TemporaryError,
    UsageError,
)
from onionmx.fallback.released import is_released
from onionmx.mapfile.cdb import COULD_NOT_TELL, DEFERS_WHY, MapReader
from onionmx.onion import Endpoint, is_for_tor_alone, onion_of, parse_endpoint
from onionmx.privileges import give_up_root
from onionmx.tor.automap import DEFAULT_TIMEOUT, MAX_TIMEOUT, format_hosts, parse_address, resolve

TYPE_CHECKING = False  # typing itself would cost 4 ms
if TYPE_CHECKING:
    from collections.abc import Sequence

NO_ENTRY = "no entry in the map"
"""What follows the domain where it has no route; exim/conf.d/router/190_onionmx waits for these words."""
RELEASED = "released by the fallback rules"
"""The same where it has one that the relay has released; the fragment waits for these words too."""
USAGE = (
    "usage: onionmx-route [--map FILE] [--released FILE] [--dnsport HOST:PORT] [--timeout S] [--tor-user USER] DOMAIN"
)
HELP = f"""{USAGE}

Print the virtual addresses of the onion MXes of DOMAIN, as a host list for Exim's route_data.
Started by root, it becomes the user {USER} before it reads the map or asks tor, or nobody where there is none.

  --map FILE           the map that onionmx sync writes (default {MAP_PATH})
  --released FILE      the domains that the relay has released (default: where it writes them by default)
  --dnsport HOST:PORT  Tor's DNSPort, with AutomapHostsOnResolve 1 (default {DNSPORT})
  --timeout S          seconds to wait for tor, at most {MAX_TIMEOUT:g} (default {DEFAULT_TIMEOUT:g})
  --tor-user USER      who may listen there besides root, by name or number (default {TOR_USER})
  --debug              show where an internal error came up; also with ONIONMX_DEBUG=1

Exit codes: 0 found, 1 no route for this domain ("DOMAIN: {NO_ENTRY}" or
"DOMAIN: {RELEASED}"), 68 no onion service can have this name, 75 could not tell (map or tor), 64 usage."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the helper; returns its exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    with_traceback = "--debug" in words or os.environ.get("ONIONMX_DEBUG", "0") != "0"
    try:
        if with_traceback:
            import traceback  # noqa: F401, PLC0415 -- for _crashed, as long as root can read it
        try:
            return _run(words)
        except OnionmxError as error:
            return _fail(str(error), error.exit_code)
    except BaseException as error:  # noqa: BLE001 -- whatever happens, it is no answer: the mail has to wait
        return _crashed(error, with_traceback=with_traceback)


def _run(arguments: Sequence[str]) -> int:
    options, operands = _parse(arguments)
    if "--help" in options:
        return _print(HELP)
    if "--version" in options:
        from onionmx import __version__  # noqa: PLC0415 -- asked for by people, not by Exim

        return _print(f"onionmx-route {__version__}")
    if len(operands) != 1 or not operands[0] or "@" in operands[0]:
        return _fail(f"expected one domain, got {' '.join(map(shown, operands)) or 'none'}; {USAGE}", EXIT_USAGE)
    # Exim writes UTF-8, whatever the locale is.
    given = os.fsencode(operands[0]).decode("utf-8", "surrogateescape")
    dnsport = parse_address(options.get("--dnsport", DNSPORT))
    timeout = _parse_timeout(options.get("--timeout"))
    user = options.get("--tor-user", TOR_USER)
    name = given if given.isprintable() else shown(given)
    try:
        domain = _domain(given)
        give_up_root()
        words = _words(domain, options.get("--map", MAP_PATH)) if domain else None
    except OnionError as error:
        return _fail(f"{name}: {error}", EXIT_REFUSED)
    if domain is None or words is None or is_released(options.get("--released", RELEASED_PATH), domain):
        return _fail(f"{name}: {RELEASED if words else NO_ENTRY}", EXIT_NO_ROUTE)
    try:
        return _print_addresses(domain, words, dnsport, timeout, user)
    except AutomapError as error:
        raise AutomapError(f"{domain}: {error}") from error


def _domain(given: str) -> str | None:
    """The domain in normal form, or `None` for what can be no domain and so has no onion MX.

    Raises:
        OnionError: no domain either, but a name under .onion.
        TemporaryError: it cannot be converted, which does not tell that an MTA could not deliver to it.
    """
    try:
        return normalize(given)
    except DomainError as error:
        if is_for_tor_alone(given):
            raise OnionError(str(error)) from error
        if not given.isascii():
            raise TemporaryError(str(error)) from error
        return None


def _parse(arguments: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Split options from operands the way getopt_long does; argparse alone would use up the time allowed."""
    options: dict[str, str] = {}
    operands: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--":
            operands.extend(words)
        elif word in {"--help", "--version", "--debug"}:
            options[word] = ""
        elif word.startswith("-"):
            name, equals, value = word.partition("=")
            if name not in {"--map", "--released", "--dnsport", "--timeout", "--tor-user"}:
                raise UsageError(f"unknown option {name!r}; {USAGE}")
            if not equals:
                value = next(words, "")
            if not value:
                raise UsageError(f"option {name} needs a value; {USAGE}")
            options[name] = value
        else:
            operands.append(word)
    return options, operands


def _parse_timeout(text: str | None) -> float:
    if text is None:
        return DEFAULT_TIMEOUT
    try:
        timeout = float(text)
    except ValueError:
        timeout = 0.0
    if not 0 < timeout <= MAX_TIMEOUT:  # refuses nan as well
        raise UsageError(f"--timeout {text!r}: expected seconds, more than 0 and at most {MAX_TIMEOUT:g}")
    return timeout


def _words(domain: str, map_path: str) -> list[str] | None:
    """The targets of a domain as the map writes them, not yet checked; `None` where it has no route.

    Raises:
        MapError: the map cannot be read.
        TemporaryError: it says that this could not be told.
        OnionError: no onion service can have this name.
    """
    try:
        with MapReader(map_path) as reader:
            value = reader.get_value(domain)
    except MapError as error:
        if isinstance(error.__cause__, PermissionError):
            raise MapError(f"{error} for user {os.geteuid()}") from error
        raise
    if value is not None:
        words = value.decode("ascii", "backslashreplace").split(" ")
        if words == [COULD_NOT_TELL]:
            raise TemporaryError(f"{domain}: {DEFERS_WHY}")
        return words
    if is_for_tor_alone(domain):
        # The next router would ask the open DNS for a name that only Tor may hear (RFC 7686).
        return [onion_of(domain)]
    return None


def _print_addresses(domain: str, words: list[str], dnsport: tuple[str, int], timeout: float, user: str) -> int:
    endpoints: list[Endpoint] = []
    left_out: list[str] = []
    for word in words:
        try:
            endpoints.append(parse_endpoint(word))
        except OnionError as error:
            left_out.append(str(error))
    results = resolve((onion for onion, _ in endpoints), dnsport, timeout, user) if endpoints else {}
    hosts, missing = format_hosts(endpoints, results, left_out)
    _print(hosts)
    if missing and not _stderr_is_stdout():
        _fail(f"{domain}: left out: {'; '.join(missing)}", EXIT_FOUND)
    return EXIT_FOUND


def _stderr_is_stdout() -> bool:
    """Exim's `${run}` reads both through one pipe, where a warning would become part of the host list."""
    return os.path.samestat(os.fstat(1), os.fstat(2))


def _print(text: str) -> int:
    """Write to standard output at once: what Python writes at its end fails with no code of ours."""
    rest = f"{text}\n".encode()
    while rest:
        rest = rest[os.write(1, rest) :]
    return EXIT_FOUND


def _fail(message: str, code: int) -> int:
    _write_error(f"onionmx-route: {message}\n".encode("utf-8", "surrogateescape"))
    return code


def _crashed(error: BaseException, *, with_traceback: bool) -> int:
    try:
        if with_traceback:
            import traceback  # noqa: PLC0415 -- for those who look for a mistake

            _write_error("".join(traceback.format_exception(error)).encode("utf-8", "backslashreplace"))
        words = f"onionmx-route: internal error: {type(error).__name__}: {error}"
        _write_error(f"{' '.join(words.split())}\n".encode("utf-8", "backslashreplace"))
    except BaseException:  # noqa: BLE001 -- there may be no memory even for this
        _write_error(b"onionmx-route: internal error\n")
    return EXIT_TEMPORARY


def _write_error(line: bytes) -> None:
    try:  # noqa: SIM105 -- contextlib would cost 2 ms
        os.write(2, line)
    except OSError:
        pass  # nobody listens
