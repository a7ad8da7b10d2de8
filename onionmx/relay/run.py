"""The relay as a process, or as several that share its sockets: signals, workers, metrics, and the end of it."""

import asyncio
import logging
import os
import resource
import signal
import socket
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import uvloop

from onionmx.authenticate.policy_file import policy_file
from onionmx.config import UNIX, Configuration, RelaySection, parse_socket
from onionmx.errors import ConfigurationError, OnionmxError
from onionmx.relay.metrics_server import bind_metrics, remove_metrics, serve_metrics
from onionmx.relay.server import Client, Listener, Transaction, listen_tcp, listen_unix, serve, take_over
from onionmx.relay.service import Delivering, server_settings
from onionmx.relay.workers import READY, supervise, take_signals
from onionmx.reply import Reply
from onionmx.smtp.envelope import Envelope
from onionmx.sockets import tell_unserved
from onionmx.systemd import inherited_sockets, notify

_logger = logging.getLogger(__name__)

_READY = "READY=1"

Load = Callable[[], Configuration]
"""Reads the configuration again."""


def run_relay(configuration: Configuration, load: Load) -> int:
    """Run the relay until SIGTERM or SIGINT; returns the exit code.

    Args:
        configuration: settings.
        load: reads the configuration again, at SIGHUP.

    Raises:
        ConfigurationError: an address cannot be bound.
    """
    _allow_many_sessions()
    if "." not in configuration.relay.ehlo_name:
        _logger.warning(
            "%s is not fully qualified: many onion MXes refuse such a name in EHLO; set relay.hostname",
            configuration.relay.ehlo_name,
        )
    listeners = _listen(configuration.relay, inherited_sockets())
    scraped = bind_metrics(configuration.relay)

    def work(worker: int) -> None:
        parent = os.getppid()

        def tell(state: str) -> None:
            if state == _READY:
                os.kill(parent, READY)

        uvloop.run(_serve(_latest(configuration, load), load, tell, listeners, *scraped[worker : worker + 1]))

    try:
        if configuration.relay.workers == 1:
            uvloop.run(_serve(configuration, load, notify, listeners, *scraped))
        else:
            supervise(configuration.relay.workers, work, partial(notify, _READY))
    finally:
        remove_metrics(configuration.relay)
        for listener in listeners:
            if listener.path:
                listener.path.unlink(missing_ok=True)
    return os.EX_OK


def _latest(configuration: Configuration, load: Load) -> Configuration:
    """The configuration for a worker that starts later, after it was perhaps reloaded."""
    try:
        return load()
    except OnionmxError:
        return configuration


def _allow_many_sessions() -> None:
    """Raise the soft limit of open files to the hard one: each message takes two descriptors."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _listen(settings: RelaySection, inherited: Iterable[tuple[str, socket.socket]]) -> list[Listener]:
    listeners = take_over(inherited, settings.smtp_listen, settings.lmtp_listen)
    served = {listener.is_lmtp for listener in listeners}
    handed_over = [listener.socket for listener in listeners]
    for texts, is_lmtp in ((settings.smtp_listen, False), (settings.lmtp_listen, True)):
        if is_lmtp in served:
            tell_unserved(texts, handed_over)
            continue
        for text in texts:
            if text.startswith(UNIX):
                path = Path(text.removeprefix(UNIX))
                mode = int(settings.unix_mode, 8)
                listeners.append(listen_unix(path, mode=mode, owner=settings.unix_owner, is_lmtp=is_lmtp))
            else:
                listeners.append(listen_tcp(*parse_socket(text), is_lmtp=is_lmtp))
    if not listeners:
        raise ConfigurationError("relay.smtp_listen and relay.lmtp_listen are both empty: nobody could send anything")
    return listeners


async def _serve(
    configuration: Configuration,
    load: Load,
    tell: Callable[[str], None],
    listeners: list[Listener],
    scraped: socket.socket | None = None,
) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    relay = _Relay(configuration, load)
    loop.add_signal_handler(signal.SIGHUP, relay.reload)
    take_signals()
    server = await serve(server_settings(configuration.relay), relay.begin, listeners)
    metrics = await serve_metrics(scraped) if scraped is not None else None
    _logger.info("relay ready (process %d)", os.getpid())
    tell(_READY)
    await stop.wait()
    tell("STOPPING=1")
    _logger.info("relay stopping, %d messages in flight", server.open_deliveries)
    await server.close(configuration.relay.grace)
    await relay.close()
    if metrics is not None:
        await metrics.close()
    _logger.info("relay stopped")


class _Relay:
    """What the server calls. A transaction ends with the version of the configuration with which it began."""

    def __init__(self, configuration: Configuration, load: Load) -> None:
        self._load = load
        self._configuration = configuration
        self._delivering = Delivering(configuration)
        self._delivering.router.keep_policies(policy_file(configuration))
        self._former: dict[asyncio.Task[None], Delivering] = {}

    async def begin(self, envelope: Envelope, client: Client) -> Transaction | Reply:
        return self._delivering.begin(envelope, client)

    def reload(self) -> None:
        """Take the configuration as it is now; sockets, workers and limits of the server stay until a restart."""
        try:
            configuration = self._load()
            delivering = Delivering(configuration)
        except OnionmxError as error:
            _logger.error("the new configuration cannot be used, the old one stays: %s", error)  # noqa: TRY400
            return
        delivering.router.keep_policies(policy_file(configuration))
        delivering.inherit(self._delivering)
        former = asyncio.get_running_loop().create_task(self._delivering.finish())
        self._former[former] = self._delivering
        former.add_done_callback(self._former.pop)
        self._configuration, self._delivering = configuration, delivering
        _logger.info("configuration reloaded")

    async def close(self) -> None:
        """End everything, transactions too."""
        everything = [*self._former.values(), self._delivering]
        for former in self._former:
            former.cancel()
        for delivering in everything:
            await delivering.close()
