"""`onionmx cache`: a client of the daemon's control socket."""

import http.client
import socket
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import click
import msgspec

from onionmx.cli.options import configuration_option, json_option, write_json
from onionmx.config import Configuration
from onionmx.domain import normalize
from onionmx.errors import EXIT_FOUND, EXIT_NO_ROUTE, TemporaryError
from onionmx.onion import format_endpoint

_TIMEOUT = 30.0  # seconds; the daemon answers from memory
_LARGEST = 1 << 30  # bytes of an answer


class DaemonError(TemporaryError):
    """The daemon cannot be asked, or does not answer as it should."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Look into the cache of the running daemon, and make it forget domains."""


@command.command()
@configuration_option
@json_option
def dump(configuration: Configuration, *, as_json: bool) -> None:
    """Print all entries, the domain asked for longest ago first: domain, seconds left, targets or why there are none.

    Below zero, the time of the entry is over, and it stays in use because DNS does not answer.
    """
    entries = _ask(configuration, "GET", "/cache")
    if as_json:
        write_json(entries)
        return
    for entry in entries:
        click.echo(f"{entry['domain']} {entry['remaining']} {_described(entry)}")


@command.command()
@click.argument("domains", metavar="DOMAIN...", nargs=-1, required=True)
@configuration_option
@json_option
def purge(domains: tuple[str, ...], configuration: Configuration, *, as_json: bool) -> int:
    """Make the daemon forget DOMAIN; the next lookup asks DNS again.

    Exit codes: 0 all of them are forgotten; 1 one was not in the cache.
    """
    names = list(dict.fromkeys(map(normalize, domains)))
    results = [_ask(configuration, "DELETE", f"/cache/{quote(name)}") for name in names]
    if as_json:
        write_json(results)
    else:
        for result in results:
            click.echo(f"{result['domain']} {'forgotten' if result['purged'] else 'is not in the cache'}")
    return EXIT_FOUND if all(result["purged"] for result in results) else EXIT_NO_ROUTE


@command.command()
@configuration_option
@json_option
def stats(configuration: Configuration, *, as_json: bool) -> None:
    """Print what the cache has done since the daemon started, or took another configuration."""
    counters = _ask(configuration, "GET", "/cache/stats")
    if as_json:
        write_json(counters)
        return
    width = max(map(len, counters))
    for name, number in counters.items():
        click.echo(f"{name:<{width}} {number}")


def _described(entry: dict[str, Any]) -> str:
    if entry["answer"] != "found":
        return f"none: {entry['reason']}"
    targets = " ".join(format_endpoint((target["onion"], target["port"])) for target in entry["targets"])
    return f"{targets} ({entry['trust']})"


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _ask(configuration: Configuration, method: str, path: str) -> Any:  # noqa: ANN401 -- JSON
    where = configuration.serve.control
    connection = _UnixConnection(where)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        body = response.read(_LARGEST)
        if response.status != HTTPStatus.OK:
            raise DaemonError(f"the daemon at {where} answered {response.status}: {body[:200]!r}")
        return msgspec.json.decode(body)
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise DaemonError(f"no daemon answers at {where}: is onionmx serve running?") from error
    except (OSError, http.client.HTTPException) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DaemonError(f"the daemon at {where} cannot be asked: {why}") from error
    except msgspec.DecodeError as error:
        raise DaemonError(f"what answers at {where} is not onionmx serve: {error}") from error
    finally:
        connection.close()
