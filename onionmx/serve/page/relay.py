"""Asks the relay at its control socket: `GET /status` of each worker, within a short time."""

import asyncio
from http import HTTPStatus
from pathlib import Path

import h11
import msgspec

from onionmx.config import RelaySection
from onionmx.errors import TemporaryError
from onionmx.status.deliveries import check_told
from onionmx.status.model import RelayStatus

LIMIT = 2.0
"""Seconds for an answer; the relay has it in memory."""
MAX_ANSWER = 16 << 20
"""Bytes: of 10 000 destinations that fail."""
_PIECE = 65536


class RelayError(TemporaryError):
    """The relay cannot be asked, or does not answer as it should."""


async def relay_status(settings: RelaySection, limit: float = LIMIT) -> RelayStatus:
    """What the relay knows; what each worker has to itself is added up.

    Args:
        limit: seconds for each worker; all are asked at once.

    Raises:
        RelayError: none of the workers could be asked.
    """
    if not settings.control:
        raise RelayError("relay.control is empty: the relay tells nothing")
    paths = [Path(f"{settings.control}.{worker}" if worker else settings.control) for worker in range(settings.workers)]
    told = await asyncio.gather(*(_ask(path, limit) for path in paths), return_exceptions=True)
    known = [each for each in told if isinstance(each, RelayStatus)]
    troubles = [each for each in told if isinstance(each, BaseException)]
    if not known:
        raise troubles[0]
    missing = f"{len(troubles)} of {len(told)} workers: {troubles[0]}" if troubles else ""
    return msgspec.structs.replace(
        known[0],
        in_flight=sum(each.in_flight for each in known),
        sessions=sum(each.sessions for each in known),
        why="; ".join(filter(None, (known[0].why, missing))),
    )


async def _ask(path: Path, limit: float) -> RelayStatus:
    try:
        async with asyncio.timeout(limit):
            body = await _get(path)
    except TimeoutError as error:
        raise RelayError(f"the relay does not answer at {path} within {limit:g} s") from error
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise RelayError(f"no relay listens at {path}: is onionmx-relay running?") from error
    except OSError as error:
        raise RelayError(f"the relay cannot be asked at {path}: {error.strerror or error}") from error
    except (h11.RemoteProtocolError, ValueError) as error:
        raise RelayError(f"what answers at {path} is not the relay: {error}") from error
    try:
        status = msgspec.json.decode(body, type=RelayStatus)
        check_told(status.failing, status.days)
    except ValueError as error:  # msgspec's own are such
        raise RelayError(f"the relay at {path} is of another version: {error}") from error
    return status


async def _get(path: Path) -> bytes:
    """The content of the answer.

    Raises:
        ValueError: another status than 200, or more than `MAX_ANSWER`.
    """
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        http = h11.Connection(h11.CLIENT)
        headers = [("Host", "relay"), ("Connection", "close")]
        for event in (h11.Request(method="GET", target="/status", headers=headers), h11.EndOfMessage()):
            writer.write(http.send(event) or b"")
        body = bytearray()
        while True:
            match http.next_event():
                case h11.NEED_DATA:
                    http.receive_data(await reader.read(_PIECE))
                case h11.Response(status_code=status) if status != HTTPStatus.OK:
                    raise ValueError(f"it answers {status}")
                case h11.Data(data=data):
                    body += data
                    if len(body) > MAX_ANSWER:
                        raise ValueError(f"it answers more than {MAX_ANSWER} bytes")
                case h11.EndOfMessage():
                    return bytes(body)
    finally:
        writer.close()
