"""Asking the relay at its control socket: HTTP on a unix socket, one for each worker."""

import asyncio
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path

import h11
import msgspec
from msgspec.structs import replace

from onionmx.config import RelaySection
from onionmx.errors import TemporaryError
from onionmx.status.deliveries import check_told
from onionmx.status.model import RelayStatus
from onionmx.text import printable_ascii

TIMEOUT = 10.0
"""Seconds for an answer; the relay reads and writes a file for it."""
_LARGEST = 32 << 20  # bytes
_PIECE = 65536


class RelayError(TemporaryError):
    """The relay cannot be asked, or what it says is not usable."""


class NoRelayError(RelayError):
    """Nobody listens there."""


async def ask_relay(settings: RelaySection, limit: float = TIMEOUT) -> RelayStatus:
    """What the relay of this host tells, of all its workers together.

    Args:
        settings: where it is, and how many workers it has.
        limit: seconds.

    Raises:
        NoRelayError: it does not run, or has no control socket.
        RelayError: it cannot be asked, or what it says is not usable.
    """
    if not settings.control:
        raise NoRelayError("the relay has no control socket: relay.control is empty")
    paths = [path_of_worker(settings.control, worker) for worker in range(settings.workers)]
    answers = await asyncio.gather(*(_ask(path, limit) for path in paths), return_exceptions=True)
    told = [answer for answer in answers if isinstance(answer, RelayStatus)]
    errors = [answer for answer in answers if isinstance(answer, BaseException)]
    for error in errors:
        if not isinstance(error, RelayError):
            raise error
    if not told:
        raise next((error for error in errors if not isinstance(error, NoRelayError)), errors[0])
    return merged(told, [str(error) for error in errors])


def path_of_worker(path: str | Path, worker: int) -> Path:
    """The unix socket of a worker: the first has the path itself, the others have `.1`, `.2` and so on behind it."""
    return Path(f"{path}.{worker}" if worker else path)


def merged(told: Sequence[RelayStatus], missing: Sequence[str] = ()) -> RelayStatus:
    """What workers tell together.

    Each knows what all have saved, and saves before it answers: the one who was last knows all.

    Args:
        told: what each tells; not empty.
        missing: why others tell nothing.
    """
    last = max(told, key=lambda each: each.at)
    whys = dict.fromkeys(filter(None, (*(each.why for each in told), *missing)))
    return replace(
        last,
        started=min(each.started for each in told),
        in_flight=sum(each.in_flight for each in told),
        sessions=sum(each.sessions for each in told),
        why="; ".join(whys),
    )


def parse_told(content: bytes) -> RelayStatus:
    """Read what a control socket answers.

    Raises:
        RelayError: it is something else, or cannot be.
    """
    try:
        told = msgspec.json.decode(content, type=RelayStatus)
        check_told(told.failing, told.days)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise RelayError(f"what it says is not what a relay of this version says: {error}") from error
    return told


async def _ask(path: Path, limit: float) -> RelayStatus:
    try:
        async with asyncio.timeout(limit):
            return parse_told(await _get(path, "/status"))
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise NoRelayError(f"no relay answers at {path}: is onionmx relay running?") from error
    except TimeoutError as error:
        raise RelayError(f"the relay at {path} does not answer within {limit:g} s") from error
    except OSError as error:
        raise RelayError(f"the relay at {path} cannot be asked: {error.strerror or error}") from error
    except h11.RemoteProtocolError as error:
        raise RelayError(f"what answers at {path} is not onionmx relay: {printable_ascii(str(error))}") from error
    except RelayError as error:
        raise RelayError(f"the relay at {path}: {error}") from error


async def _get(path: Path, target: str) -> bytes:
    """The body of an answer.

    Raises:
        OSError: nobody answers.
        h11.RemoteProtocolError: the answer is not HTTP, or breaks off.
        RelayError: it is too large, or an error.
    """
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        http = h11.Connection(h11.CLIENT)
        request = h11.Request(method="GET", target=target, headers=[("Host", "localhost"), ("Connection", "close")])
        for piece in (http.send(request), http.send(h11.EndOfMessage())):
            writer.write(piece or b"")
        body = bytearray()
        while True:
            match http.next_event():
                case h11.Response() as response if response.status_code != HTTPStatus.OK:
                    raise RelayError(f"it answers {response.status_code}")
                case h11.Data() as data:
                    body += data.data
                    if len(body) > _LARGEST:
                        raise RelayError(f"its answer is larger than {_LARGEST} bytes")
                case h11.EndOfMessage():
                    return bytes(body)
                case h11.NEED_DATA:
                    http.receive_data(await reader.read(_PIECE))
                case h11.ConnectionClosed():
                    raise RelayError("it hung up")
    finally:
        writer.close()
