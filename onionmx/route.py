"""`onionmx-route`: the helper that Exim runs for each message.

    onionmx-route [--map FILE] [--dnsport HOST:PORT] [--timeout S] DOMAIN

It looks the domain up in the map, asks Tor's DNSPort for a virtual address of each target, and prints the host list
for Exim's `route_data`: `ip` or `ip::port`, joined by colons, in route order.

Exit codes: 0 found; 1 no route for this domain; 75 could not tell or could not resolve; 64 usage.

It stands beside `onionmx.cli` at the top: nothing imports it, it reads no configuration file, and every module that
it loads is counted, because Exim waits for it once for each message.
"""

from __future__ import annotations

import os
import sys

from onionmx.defaults import DNSPORT, MAP_PATH
from onionmx.domain import normalize
from onionmx.errors import (
    EXIT_FOUND,
    EXIT_NO_ROUTE,
    EXIT_USAGE,
    AutomapError,
    OnionError,
    OnionmxError,
    UsageError,
)
from onionmx.mapfile.cdb import MapReader
from onionmx.onion import SUFFIX, Endpoint, parse_endpoint, parse_onion
from onionmx.tor.automap import DEFAULT_TIMEOUT, MAX_TIMEOUT, format_host, parse_address, resolve

TYPE_CHECKING = False  # typing itself would cost 4 ms
if TYPE_CHECKING:
    from collections.abc import Sequence

USAGE = "usage: onionmx-route [--map FILE] [--dnsport HOST:PORT] [--timeout S] DOMAIN"
HELP = f"""{USAGE}

Print the virtual addresses of the onion MXes of DOMAIN, as a host list for Exim's route_data.

  --map FILE           the map that onionmx sync writes (default {MAP_PATH})
  --dnsport HOST:PORT  Tor's DNSPort, with AutomapHostsOnResolve 1 (default {DNSPORT})
  --timeout S          seconds to wait for tor, at most {MAX_TIMEOUT:g} (default {DEFAULT_TIMEOUT:g})

Exit codes: 0 found, 1 no route for this domain, 75 could not tell (map or tor), 64 usage."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the helper; returns its exit code."""
    try:
        return _run(sys.argv[1:] if arguments is None else arguments)
    except OnionmxError as error:
        return _fail(str(error), error.exit_code)


def _run(arguments: Sequence[str]) -> int:
    options, operands = _parse(arguments)
    if "--help" in options:
        sys.stdout.write(HELP + "\n")
        return EXIT_FOUND
    if "--version" in options:
        from onionmx import __version__  # noqa: PLC0415 -- asked for by people, not by Exim

        sys.stdout.write(f"onionmx-route {__version__}\n")
        return EXIT_FOUND
    if len(operands) != 1:
        return _fail(f"expected one domain, got {len(operands)}; {USAGE}", EXIT_USAGE)
    domain = normalize(operands[0])
    dnsport = parse_address(options.get("--dnsport", DNSPORT))
    timeout = _parse_timeout(options.get("--timeout"))
    words = _words(domain, options.get("--map", MAP_PATH))
    if words is None:
        return _fail(f"{domain}: no entry in the map", EXIT_NO_ROUTE)
    try:
        return _print_addresses(domain, words, dnsport, timeout)
    except AutomapError as error:
        raise AutomapError(f"{domain}: {error}") from error


def _parse(arguments: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Split options from operands the way getopt_long does; argparse alone would use up the time allowed."""
    options: dict[str, str] = {}
    operands: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--":
            operands.extend(words)
        elif word in {"--help", "--version"}:
            options[word] = ""
        elif word.startswith("-"):
            name, equals, value = word.partition("=")
            if name not in {"--map", "--dnsport", "--timeout"}:
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
    """The targets of a domain as the map writes them, not yet checked."""
    with MapReader(map_path) as reader:
        value = reader.get_value(domain)
    if value is not None:
        return value.decode("ascii", "backslashreplace").split(" ")
    if domain.endswith(SUFFIX):
        # The next router would ask the open DNS for a name that only Tor may hear (RFC 7686).
        return [parse_onion(domain)]
    return None


def _print_addresses(domain: str, words: list[str], dnsport: tuple[str, int], timeout: float) -> int:
    endpoints: list[Endpoint] = []
    left_out: list[str] = []
    for word in words:
        try:
            endpoints.append(parse_endpoint(word))
        except OnionError as error:
            left_out.append(str(error))
    hosts: list[str] = []
    results = resolve((onion for onion, _ in endpoints), dnsport, timeout) if endpoints else {}
    for onion, port in endpoints:
        result = results[onion]
        if isinstance(result, AutomapError):
            left_out.append(f"{onion}: {result}")
        else:
            hosts.append(format_host(result, port))
    if not hosts:
        raise AutomapError(f"no usable target: {'; '.join(left_out)}")
    sys.stdout.write(":".join(hosts) + "\n")
    if left_out and not _stderr_is_stdout():
        sys.stderr.write(f"onionmx-route: {domain}: left out: {'; '.join(left_out)}\n")
    return EXIT_FOUND


def _stderr_is_stdout() -> bool:
    """Exim's `${run}` reads both through one pipe, where a warning would become part of the host list."""
    return os.path.samestat(os.fstat(1), os.fstat(2))


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"onionmx-route: {message}\n")
    return code
