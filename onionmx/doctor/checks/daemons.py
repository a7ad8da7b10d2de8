"""The two daemons of this package: do they answer, in the language of those who ask them?

A site needs neither, or one: Exim can do without both. So one that is not running is no fault, unless the configuration
sends mail to it. One that answers on some of its sockets, or wrongly, always is.
"""

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from onionmx.config import UNIX, Configuration, ServeSection, parse_socket
from onionmx.doctor.finding import AS_ROOT, Finding, not_checked, ok, problem, warning
from onionmx.doctor.machine import Machine
from onionmx.doctor.runner import Check, Topic
from onionmx.smtp.printable import printable

LOOKUP = Topic(
    "lookup-daemon",
    "onionmx serve answers, where it runs",
    "an MTA that asks it and gets no answer defers its mail, also that for domains without an onion MX",
)
RELAY = Topic(
    "relay",
    "onionmx relay answers, where it runs",
    "mail for domains with an onion MX waits in the queue of the MTA while it does not",
)
_WITH_FALLBACK = frozenset({"", "smtp", "relay", "lmtp"})
"""Transports of a stock master.cf, which use the fallback relay of main.cf."""
_TIMEOUT = 10.0  # seconds; what is asked needs no lookup
_MOST = 4096  # bytes of an answer that are looked at


@dataclass(frozen=True, slots=True)
class Hello:
    """How to find out who is there.

    Attributes:
        question: sent first; empty where the server speaks first.
        answer: how the answer begins.
        goodbye: sent at the end.
    """

    question: bytes
    answer: tuple[bytes, ...]
    goodbye: bytes = b""


SOCKETMAP = Hello(b"9:onionmx *,", (b"9:NOTFOUND ,",))
TCP_TABLE = Hello(b"get *\n", (b"500 ",))
READSOCKET = Hello(b"route *\n", (b"none ",))
HTTP = Hello(b"GET /metrics HTTP/1.0\r\n\r\n", (b"HTTP/1.0 200", b"HTTP/1.1 200"))
GREETING = Hello(b"", (b"220 ", b"220-"), b"QUIT\r\n")


class Presence(Enum):
    """Who is there."""

    ANSWERS = "answers"
    NOBODY = "nothing listens"
    WRONG = "does not answer as it should"
    UNKNOWN = "this user may not connect"


@dataclass(frozen=True, slots=True)
class Socket:
    """What was found at one address.

    Attributes:
        where: as in the configuration.
        presence: who is there.
        words: what was seen.
    """

    where: str
    presence: Presence
    words: str


async def look_at_lookup(machine: Machine) -> Sequence[Finding]:
    """Ask the lookup daemon in each of its languages for what has no route for certain."""
    serve = machine.configuration.serve
    sockets = await _look(
        {
            SOCKETMAP: serve.socketmap_listen,
            TCP_TABLE: serve.tcp_table_listen,
            READSOCKET: serve.readsocket_listen,
            HTTP: serve.http_listen,
        }
    )
    return [judge_daemon(LOOKUP.name, "onionmx-serve", sockets, needed=False), *judge_result(serve.result)]


async def look_at_relay(machine: Machine) -> Sequence[Finding]:
    """Wait for the greetings of the relay."""
    relay = machine.configuration.relay
    sockets = await _look({GREETING: (*relay.smtp_listen, *relay.lmtp_listen)})
    return [judge_daemon(RELAY.name, "onionmx-relay", sockets, needed=_is_needed(machine.configuration))]


def judge_daemon(check: str, unit: str, sockets: Sequence[Socket], *, needed: bool) -> Finding:
    """Judge a daemon by its sockets.

    Args:
        check: name of the check.
        unit: name of the service in systemd.
        sockets: what was found at each.
        needed: whether the configuration sends mail to it.
    """
    answering = [one.where for one in sockets if one.presence is Presence.ANSWERS]
    wrong = [f"{one.where}: {one.words}" for one in sockets if one.presence is Presence.WRONG]
    missing = [one.where for one in sockets if one.presence is Presence.NOBODY]
    unknown = [f"{one.where}: {one.words}" for one in sockets if one.presence is Presence.UNKNOWN]
    if wrong:
        return problem(check, "; ".join(wrong), f"systemctl restart {unit}\njournalctl -u {unit}")
    if answering and missing:
        return problem(check, f"nothing listens at {', '.join(missing)}", f"systemctl restart {unit}")
    if missing and needed:
        return problem(
            check,
            f"map.transport_result leads to it, and nothing listens at {', '.join(missing)}",
            f"systemctl enable --now {unit}",
        )
    if unknown:
        return not_checked(check, "; ".join(unknown), AS_ROOT)
    if not answering:
        silent = f"it does not run here: nothing listens at {', '.join(missing)}"
        return not_checked(check, silent if missing else "it has no sockets in the configuration")
    return ok(check, f"answers at {', '.join(answering)}")


def judge_result(result: str) -> list[Finding]:
    """Whether mail could leave by a fallback when the relay does not take it (postconf(5), smtp_fallback_relay).

    Args:
        result: `serve.result`.
    """
    transport = result.partition(":")[0]
    if transport not in _WITH_FALLBACK:
        return []
    seen = f"serve.result {result}: Postfix's transport {transport or 'by default'} obeys smtp_fallback_relay"
    fix = f'onionmx.toml: [serve] result = "{ServeSection().result}"\nmaster.cf: the transport of docs/postfix.md'
    why = "where Postfix has a fallback relay, mail that should wait for the relay leaves over the open internet"
    return [warning(LOOKUP.name, seen, fix, why)]


def _is_needed(configuration: Configuration) -> bool:
    """Whether the second map names a port of the relay as the place for mail."""
    listening = (*configuration.relay.smtp_listen, *configuration.relay.lmtp_listen)
    result = configuration.map.transport_result.replace("[", "").replace("]", "")
    return bool(configuration.map.transport_path) and any(
        text.replace("[", "").replace("]", "") in result for text in listening
    )


async def _look(addresses: Mapping[Hello, Iterable[str]]) -> list[Socket]:
    return await asyncio.gather(*(_meet(text, hello) for hello, texts in addresses.items() for text in texts))


async def _meet(where: str, hello: Hello) -> Socket:
    try:
        async with asyncio.timeout(_TIMEOUT):
            if where.startswith(UNIX):
                reader, writer = await asyncio.open_unix_connection(where.removeprefix(UNIX))
            else:
                reader, writer = await asyncio.open_connection(*parse_socket(where))
            try:
                return _judge_answer(where, hello, await _exchange(reader, writer, hello))
            finally:
                writer.close()
    except TimeoutError:
        return Socket(where, Presence.WRONG, f"no answer within {_TIMEOUT:g} s")
    except (ConnectionRefusedError, FileNotFoundError):
        return Socket(where, Presence.NOBODY, "nothing listens")
    except PermissionError as error:
        return Socket(where, Presence.UNKNOWN, os.strerror(error.errno) if error.errno else str(error))
    except OSError as error:
        return Socket(where, Presence.WRONG, os.strerror(error.errno) if error.errno else str(error))


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, hello: Hello) -> bytes:
    writer.write(hello.question)
    answer = b""
    while len(answer) < max(map(len, hello.answer)) and (data := await reader.read(_MOST)):
        answer += data
    writer.write(hello.goodbye)
    await writer.drain()
    return answer


def _judge_answer(where: str, hello: Hello, answer: bytes) -> Socket:
    if answer.startswith(hello.answer):
        return Socket(where, Presence.ANSWERS, "answers")
    said = printable(answer.decode("utf-8", "backslashreplace"))
    return Socket(where, Presence.WRONG, f"it said {said!r}" if said else "it hung up")


CHECKS = (Check((LOOKUP,), look_at_lookup), Check((RELAY,), look_at_relay))
