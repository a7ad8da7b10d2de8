"""The relay as a process, or as several that share its sockets: signals, workers, metrics, and the end of it."""

import asyncio
import logging
import os
import socket
from collections.abc import Iterable
from contextlib import suppress
from functools import partial

import uvloop

from onionmx.config import Configuration, RelaySection
from onionmx.daemon import Load, allow_many_files, collect_seldom, run
from onionmx.errors import ConfigurationError, OnionmxError
from onionmx.log.handlers import use_log
from onionmx.net.listen import bind_address, tell_unserved
from onionmx.relay import workers
from onionmx.relay.fallback import Fallback
from onionmx.relay.pages.control import bind_control, control_pages, remove_control
from onionmx.relay.pages.metrics import bind_metrics, remove_metrics, serve_metrics
from onionmx.relay.record import DeliveryRecord
from onionmx.relay.service import RelayCore, server_settings
from onionmx.serve.http.health import Health
from onionmx.serve.http.server import serve_http
from onionmx.smtp.envelope import Envelope
from onionmx.smtp.reply import Reply
from onionmx.smtp.server import Client, SmtpListener, Transaction, serve, take_over
from onionmx.status.deliveries import deliveries_file
from onionmx.systemd import READY, WATCHDOG, inherited_sockets, notify, watchdog_seconds
from onionmx.tor.socks import SocksConnector

_logger = logging.getLogger(__name__)

_SIGNALS = {READY: workers.READY, WATCHDOG: workers.ALIVE}
"""How a worker tells its parent a state of sd_notify(3): systemd hears of it from the main process alone."""


def run_relay(configuration: Configuration, load: Load) -> int:
    """Run the relay until SIGTERM or SIGINT; returns the exit code.

    Args:
        load: reads the configuration again, at SIGHUP.

    Raises:
        ConfigurationError: an address cannot be bound.
        HostError: the host of tor's SOCKS port cannot be found.
    """
    allow_many_files()
    collect_seldom()
    if "." not in configuration.relay.ehlo_name:
        _logger.warning(
            "%s is not fully qualified: many onion MXes refuse such a name in EHLO; set relay.hostname",
            configuration.relay.ehlo_name,
        )
    listeners = _listen(configuration.relay, inherited_sockets())
    scraped = bind_metrics(configuration.relay)
    controls = bind_control(configuration.relay)
    watchdog = watchdog_seconds()

    def work(worker: int) -> None:
        parent = os.getppid()

        def tell(state: str) -> None:
            if state in _SIGNALS:
                os.kill(parent, _SIGNALS[state])

        # Only one process may write what is released.
        service = RelayService(
            _latest(configuration, load), listeners, scraped[worker], controls[worker], watches=worker == 0
        )
        uvloop.run(run(service, load, watchdog, tell))

    try:
        if configuration.relay.workers == 1:
            uvloop.run(run(RelayService(configuration, listeners, scraped[0], controls[0]), load, watchdog))
        else:
            _check_tor(configuration)  # a worker that fails is started again, for ever
            workers.supervise(configuration.relay.workers, work, notify, partial(_use_its_log, load))
    finally:
        remove_metrics(configuration.relay)
        remove_control(configuration.relay, controls)
        for listener in listeners:
            if listener.path:
                listener.path.unlink(missing_ok=True)
    return os.EX_OK


def _check_tor(configuration: Configuration) -> None:
    tor = configuration.tor
    SocksConnector(tor.socks, tor.connect_timeout, tor.user).find()


def _latest(configuration: Configuration, load: Load) -> Configuration:
    """The configuration for a worker that starts later, after it was perhaps reloaded."""
    try:
        return load()
    except OnionmxError:
        return configuration


def _use_its_log(load: Load) -> None:
    """Log as the new configuration says; the workers tell of one that cannot be used."""
    with suppress(OnionmxError):
        use_log(load())


def _listen(settings: RelaySection, inherited: Iterable[tuple[str, socket.socket]]) -> list[SmtpListener]:
    listeners = take_over(inherited, settings.smtp_listen, settings.lmtp_listen)
    served = {listener.is_lmtp for listener in listeners}
    handed_over = [listener.socket for listener in listeners]
    for texts, is_lmtp in ((settings.smtp_listen, False), (settings.lmtp_listen, True)):
        if is_lmtp in served:
            tell_unserved(texts, handed_over)
            continue
        for text in texts:
            bound, path = bind_address(text, int(settings.unix_mode, 8), settings.unix_owner)
            listeners.append(SmtpListener(bound, is_lmtp, path))
    if not listeners:
        raise ConfigurationError("relay.smtp_listen and relay.lmtp_listen are both empty: nobody could send anything")
    return listeners


class RelayService:
    """What runs. A transaction ends with the version of the configuration with which it began.

    Args:
        listeners: where clients connect.
        scraped: where metrics are served.
        control: where `onionmx status` asks.
        watches: whether this process is the one that releases domains.

    Attributes:
        configuration: with which it began.
    """

    name = "relay"

    def __init__(
        self,
        configuration: Configuration,
        listeners: list[SmtpListener],
        scraped: socket.socket | None = None,
        control: socket.socket | None = None,
        *,
        watches: bool = True,
    ) -> None:
        self.configuration = configuration
        self._listeners = listeners
        self._scraped = scraped
        self._control = control
        self._former: dict[asyncio.Task[None], RelayCore] = {}
        self._watches = watches

    async def start(self) -> None:
        """See `onionmx.daemon.Service`."""
        self._fallback = Fallback()
        self._record = DeliveryRecord()
        self._record.keep_in(deliveries_file(self.configuration), is_shared=self.configuration.relay.workers > 1)
        self._saving = asyncio.get_running_loop().create_task(self._record.save_now_and_then())
        self._delivering = _delivering(self.configuration, self._record, self._fallback)
        if self._watches:
            self._delivering.start_fallback()
        self._server = await serve(server_settings(self.configuration.relay), self.begin, self._listeners)
        self._health = Health(self._delivering.parts, lambda: False)
        self._pages = []
        if self._scraped is not None:
            names = self.configuration.relay.metrics_names
            self._pages.append(await serve_metrics(self._scraped, self._health, names))
        if self._control is not None:
            respond = control_pages(lambda: self._record.status(self._server.open_deliveries))
            self._pages.append(await serve_http(self._control, respond))

    def take(self, configuration: Configuration) -> None:
        """Use another configuration; sockets, workers and limits of the server stay until a restart."""
        delivering = _delivering(configuration, self._record, self._fallback)
        self._record.end_pauses()
        delivering.inherit(self._delivering)
        if self._watches:
            delivering.lead_fallback()
        former = asyncio.get_running_loop().create_task(self._delivering.finish())
        self._former[former] = self._delivering
        former.add_done_callback(self._former.pop)
        self._delivering = delivering
        self._health.use(delivering.parts)

    def refused(self) -> None:
        """See `onionmx.daemon.Service`."""

    async def stop(self) -> None:
        """End everything; transactions get time to finish."""
        _logger.info("waiting for %d messages in flight", self._server.open_deliveries)
        await self._server.close(self.configuration.relay.grace)
        await self._fallback.close()
        everything = [*self._former.values(), self._delivering]
        for former in self._former:
            former.cancel()
        for delivering in everything:
            await delivering.close()
        for pages in self._pages:
            await pages.close()
        await self._health.close()
        self._saving.cancel()
        await self._record.save()

    async def begin(self, envelope: Envelope, client: Client) -> Transaction | Reply:
        """Open a transaction at MAIL."""
        return self._delivering.begin(envelope, client)


def _delivering(configuration: Configuration, record: DeliveryRecord, fallback: Fallback) -> RelayCore:
    delivering = RelayCore(configuration, record, fallback)
    delivering.parts.socks.find()
    delivering.parts.keep_policies()
    delivering.keep_announced()
    return delivering
