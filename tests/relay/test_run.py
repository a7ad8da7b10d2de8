"""The relay as a process: sockets, signals, workers, readiness, metrics."""

import asyncio
import http.client
import json
import os
import re
import signal
import smtplib
import socket
import sys
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from onionmx.config import RelaySection
from onionmx.relay import metrics as _metrics  # noqa: F401 -- declares them
from onionmx.status.model import RelayStatus
from onionmx.status.relay import ask_relay
from tests.e2e.daemon import Daemon, free_ports, wait_until
from tests.mapfile.maps import A, make_map


class Process:
    """`onionmx relay` in a folder of its own, with a SOCKS port where nothing listens."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.smtp, self.lmtp, nothing, self.metrics, _second_worker = free_ports(5)
        self.unix = folder / "lmtp.sock"
        self.control = folder / "relay.sock"
        make_map(folder / "map.cdb", {"example.org": ((A, 25),)})
        (folder / "pins").touch()
        self.configuration = folder / "onionmx.toml"
        self._head = (
            f'[map]\npath = "{folder}/map.cdb"\n[sync]\npins = "{folder}/pins"\n[tor]\nsocks = "127.0.0.1:{nothing}"\n'
        )
        self.workers = int(settings.get("workers", "1"))
        self.configure(**settings)
        command: list[str | Path] = [Path(sys.executable).with_name("onionmx"), "relay", "--config", self.configuration]
        self.daemon = Daemon("relay", command, folder, {"NOTIFY_SOCKET": str(folder / "notify")})

    def configure(self, **settings: str) -> None:
        settings = {
            "smtp_listen": f'["127.0.0.1:{self.smtp}"]',
            "lmtp_listen": f'["127.0.0.1:{self.lmtp}", "unix:{self.unix}"]',
            "metrics_listen": f'"127.0.0.1:{self.metrics}"',
            "hostname": '"mx.sender.test"',
            "control": f'"{self.control}"',
        } | settings
        self.configuration.write_text(
            self._head + "[relay]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items())
        )

    def reply(self) -> tuple[int, str]:
        """What it says to a recipient without a route."""
        with smtplib.SMTP("127.0.0.1", self.smtp, local_hostname="mta.sender.test") as session:
            session.ehlo()
            session.mail("me@sender.test")
            code, text = session.rcpt("user@elsewhere.example")
            return code, text.decode()


@contextmanager
def running(folder: Path, **settings: str) -> Iterator[Process]:
    process = Process(folder, **settings)
    with process.daemon as daemon:
        daemon.wait_for_log("relay ready")
        yield process


def test_sockets_of_every_kind(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        assert process.reply() == (451, "4.4.4 elsewhere.example: no entry in the map")
        for host, port in (("127.0.0.1", process.lmtp), (str(process.unix), 0)):
            with smtplib.LMTP(host, port) as session:
                session.ehlo()
                assert session.has_extn("chunking")
        assert process.unix.stat().st_mode & 0o777 == 0o660
    assert not process.unix.exists()


def test_unreachable_tor_defers_and_is_counted(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        refused = pytest.raises(smtplib.SMTPDataError, match="is tor running")
        with smtplib.LMTP("127.0.0.1", process.lmtp) as session, refused:
            session.sendmail("me@sender.test", ["user@example.org"], "Subject: x\r\n\r\nhello\r\n")
        with urllib.request.urlopen(f"http://127.0.0.1:{process.metrics}/metrics") as response:
            metrics = response.read().decode()
        assert 'onionmx_relay_socks_failures_total{cause="proxy_unreachable"} 1.0' in metrics
        assert 'onionmx_relay_deliveries_total{result="4xx"} 1.0' in metrics
        assert "onionmx_relay_tor_answers 0.0" in metrics
        assert re.search(r"ERROR onionmx\.mail: no mail can leave: .*is tor running", process.daemon.log_text())
        assert "user@example.org" not in process.daemon.log_text()


def test_a_reload_changes_the_log_of_all_processes(tmp_path: Path) -> None:
    with running(tmp_path, workers="2") as process:
        process.daemon.wait_for_log(r"(?s)(relay ready \(process .*){2}")
        process.configure(workers="2")
        process.configuration.write_text(process.configuration.read_text() + '[log]\nformat = "json"\n')
        process.daemon.signal(signal.SIGHUP)
        process.daemon.wait_for_log(r'(?s)("event": "reloaded".*){2}')
        refused = pytest.raises(smtplib.SMTPDataError, match="is tor running")
        with smtplib.LMTP("127.0.0.1", process.lmtp) as session, refused:
            session.sendmail("me@sender.test", ["user@example.org"], "Subject: x\r\n\r\nhello\r\n")
        process.daemon.wait_for_log(r'"event": "tor_silent", "reason": "')
        os.kill(workers_of(process)[0], signal.SIGKILL)
        process.daemon.wait_for_log('"event": "worker_ended", "worker": ')
        assert "user@example.org" not in process.daemon.log_text()


def test_every_metric_is_documented() -> None:
    documentation = Path(__file__).parents[2].joinpath("docs/monitoring.md").read_text()
    for metric in REGISTRY.collect():
        if metric.name.startswith("onionmx_"):
            assert f"`{metric.name}" in documentation


@contextmanager
def manager(folder: Path) -> Iterator[socket.socket]:
    """What plays the service manager: the socket where states arrive."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(folder / "notify"))
        notified.settimeout(120)
        yield notified


@pytest.mark.parametrize("workers", ["1", "2"])
def test_systemd_is_told(tmp_path: Path, workers: str) -> None:
    with manager(tmp_path) as notified, running(tmp_path, workers=workers) as process:
        process.daemon.wait_for_log(rf"(?s)(relay ready \(process .*){{{workers}}}")
        assert notified.recv(100) == b"READY=1"
        process.daemon.signal(signal.SIGHUP)
        assert _after_ready(notified).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        assert notified.recv(100) == b"READY=1"
        process.daemon.signal(signal.SIGTERM)
        assert _after_ready(notified) == b"STOPPING=1"


def _after_ready(notified: socket.socket) -> bytes:
    """The next state that is not READY: of two workers, one or two of these come."""
    return next(state for state in iter(lambda: notified.recv(100), b"") if state != b"READY=1")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_watchdog_is_fed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: str) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    with manager(tmp_path) as notified, running(tmp_path, workers=workers):
        for _ in range(3):
            assert _after_ready(notified) == b"WATCHDOG=1"


def test_watchdog_is_not_fed_for_a_worker_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    with manager(tmp_path) as notified, running(tmp_path, workers="2") as process:
        process.daemon.wait_for_log(r"(?s)(relay ready \(process .*){2}")
        hanging, _ = map(int, re.findall(r"relay ready \(process (\d+)\)", process.daemon.log_text()))
        os.kill(hanging, signal.SIGSTOP)
        try:
            notified.settimeout(4)  # ten times as long as the watchdog waits
            with pytest.raises(TimeoutError):
                deque(iter(lambda: notified.recv(100), b""), maxlen=0)
        finally:
            os.kill(hanging, signal.SIGCONT)
        notified.settimeout(120)
        assert notified.recv(100) == b"WATCHDOG=1"


def test_health(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        with pytest.raises(urllib.error.HTTPError) as raised:
            urllib.request.urlopen(f"http://127.0.0.1:{process.metrics}/healthz")
        with raised.value as response:
            assert response.code == 503
            parts = json.load(response)["parts"]
        assert parts["map"]["ok"]
        assert not parts["tor"]["ok"]
        assert "is tor running" in parts["tor"]["seen"]


def test_reload_takes_a_good_configuration_and_keeps_the_old_one_for_a_bad(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        process.configure(unrouted='"reject"')
        process.daemon.signal(signal.SIGHUP)
        process.daemon.wait_for_log("configuration reloaded")
        assert process.reply()[0] == 550
        process.configure(unrouted='"bounce"')
        process.daemon.signal(signal.SIGHUP)
        process.daemon.wait_for_log("cannot be used, the old one stays: .*relay.unrouted: Invalid enum value 'bounce'")
        assert process.reply()[0] == 550


def test_workers_share_the_sockets_and_are_replaced(tmp_path: Path) -> None:
    with running(tmp_path, workers="2") as process:
        process.daemon.wait_until(lambda: process.daemon.log_text().count("relay ready") == 2, "two workers")
        assert process.reply()[0] == 451
        worker = int(re.findall(r"relay ready \(process (\d+)\)", process.daemon.log_text())[0])
        os.kill(worker, signal.SIGKILL)
        process.daemon.wait_until(lambda: process.daemon.log_text().count("relay ready") == 3, "a third worker")
        assert process.reply()[0] == 451
        process.daemon.signal(signal.SIGTERM)
        process.daemon.wait_until(lambda: process.daemon.log_text().count("relay stopped") == 2, "the end of both")


def workers_of(process: Process) -> list[int]:
    """Those that were started, in order."""
    return [int(pid) for pid in re.findall(r"relay ready \(process (\d+)\)", process.daemon.log_text())]


def test_end_of_one_worker_leaves_the_unix_socket_to_the_others(tmp_path: Path) -> None:
    with running(tmp_path, workers="2") as process:
        process.daemon.wait_until(lambda: len(workers_of(process)) == 2, "two workers")
        os.kill(workers_of(process)[0], signal.SIGTERM)
        process.daemon.wait_for_log("relay stopped")
        with smtplib.LMTP(str(process.unix), 0) as session:
            session.ehlo()
        process.daemon.wait_until(lambda: len(workers_of(process)) == 3, "a third worker")
        assert process.unix.exists()
        process.daemon.stop()
        assert not process.unix.exists()


def test_sigterm_while_a_worker_waits_to_be_started_again(tmp_path: Path) -> None:
    with running(tmp_path, workers="2") as process:
        process.daemon.wait_until(lambda: len(workers_of(process)) == 2, "two workers")
        os.kill(workers_of(process)[0], signal.SIGKILL)
        process.daemon.wait_for_log("starting it again")
        process.daemon.signal(signal.SIGTERM)
        wait_until(lambda: not process.daemon.running, "the end of the relay")
        assert len(workers_of(process)) == 2


def test_worker_that_is_started_again_has_the_configuration_of_the_others(tmp_path: Path) -> None:
    with running(tmp_path, workers="2") as process:
        process.daemon.wait_until(lambda: len(workers_of(process)) == 2, "two workers")
        process.configure(workers="2", unrouted='"reject"')
        process.daemon.signal(signal.SIGHUP)
        process.daemon.wait_until(
            lambda: process.daemon.log_text().count("configuration reloaded") == 2, "both have reloaded"
        )
        for worker in workers_of(process):
            os.kill(worker, signal.SIGKILL)
        process.daemon.wait_until(lambda: len(workers_of(process)) == 4, "two more workers")
        assert process.reply()[0] == 550


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("smtp_listen", '["192.0.2.1:25"]\nclients = ["192.168.0.0/24"]', "cannot listen on 192.0.2.1 port 25"),
        ("smtp_listen", '["0.0.0.0:10025"]', "relay: 0.0.0.0:10025 is reached from other hosts, and"),
        ("lmtp_listen", '["[::]:10026"]', "name their networks there, or listen on 127.0.0.1"),
        ("unix_owner", '"no-such-user"', "owner 'no-such-user' of a socket: there is no such user or group here"),
        ("smtp_listen", '["localhost:25"]', "'localhost:25' is not an address: expected IP:PORT"),
        ("clients", '["everyone"]', "relay: 'everyone' does not appear to be an IPv4 or IPv6 network"),
        ("clients", '["0.0.0.0/0", "::/0"]', "relay: relay.clients: 0.0.0.0/0 is wider than a private network"),
        ("clients", '["127.0.0.0/8", "::/0"]', "::/0 is wider"),
        ("clients", '["64.0.0.0/7"]', "64.0.0.0/7 is wider"),
        ("clients", '["172.0.0.0/11"]', "172.0.0.0/11 is wider"),
        ("clients", '["203.0.113.0/24"]', "or single addresses"),
        ("metrics_listen", '"192.0.2.1:9469"', "cannot listen on 192.0.2.1 port 9469"),
        ("metrics_listen", '"unix:/nowhere/metrics"', "cannot listen on /nowhere/metrics: No such file"),
        ("tls", '"always"', "relay.tls: Invalid enum value 'always'"),
        ("deadline", "-1", "relay.deadline: Expected `float` > 0"),
    ],
)
def test_impossible_settings_end_it_at_once(tmp_path: Path, name: str, value: str, why: str) -> None:
    process = Process(tmp_path, **{name: value})
    daemon = process.daemon.start()
    with pytest.raises(Exception, match="ended before"):
        daemon.wait_for_log("relay ready")
    assert why in daemon.log_text()
    assert daemon.log_text().count("\n") == 1
    assert daemon.exit_code == 78
    daemon.stop()


def test_metrics_by_a_name_in_dns(tmp_path: Path) -> None:
    with running(tmp_path, metrics_names='["mx.example.org"]') as process:
        for host, status in (("mx.example.org", 200), ("evil.example", 421)):
            asked = http.client.HTTPConnection("127.0.0.1", process.metrics)
            with closing(asked):
                asked.request("GET", "/metrics", headers={"Host": host})
                assert asked.getresponse().status == status


def test_metrics_on_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "metrics"
    paths = [path, tmp_path / "metrics.1"]
    with running(tmp_path, metrics_listen=f'"unix:{path}"', workers="2", unix_mode='"0600"') as process:
        process.daemon.wait_until(lambda: process.daemon.log_text().count("relay ready") == 2, "two workers")
        for one in paths:
            assert one.stat().st_mode & 0o777 == 0o600
            assert "onionmx_relay_sessions" in scraped(one)
        worker = int(re.findall(r"relay ready \(process (\d+)\)", process.daemon.log_text())[0])
        os.kill(worker, signal.SIGKILL)
        process.daemon.wait_until(lambda: process.daemon.log_text().count("relay ready") == 3, "a third worker")
        assert all("onionmx_relay_sessions" in scraped(one) for one in paths)
    assert not any(one.exists() for one in paths)
    with running(tmp_path, metrics_listen=f'"unix:{path}"'):
        assert "onionmx_relay_sessions" in scraped(path)
    assert not path.exists()


def test_silent_connections_take_no_metrics_and_no_threads(tmp_path: Path) -> None:
    with running(tmp_path) as process, ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(socket.create_connection(("127.0.0.1", process.metrics), timeout=120))
        url = f"http://127.0.0.1:{process.metrics}/metrics"
        with urllib.request.urlopen(url, timeout=120) as response:
            assert "onionmx_relay_sessions" in response.read().decode()
        (pid,) = workers_of(process)
        status = Path(f"/proc/{pid}/status").read_text()
        assert int(re.findall(r"Threads:\s+(\d+)", status)[0]) < 5
        rebound = urllib.request.Request(url, headers={"Host": "evil.example"})
        with pytest.raises(urllib.error.HTTPError, match="421") as refused:
            urllib.request.urlopen(rebound, timeout=120)  # noqa: S310 -- of http
        refused.value.close()


def scraped(path: Path) -> str:
    with closing(http.client.HTTPConnection("relay")) as connection:
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.settimeout(120)
        connection.sock.connect(str(path))
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()


def told(process: Process) -> RelayStatus:
    """What the control sockets of all workers tell."""
    return asyncio.run(ask_relay(RelaySection(control=str(process.control), workers=process.workers), 120))


def send(process: Process) -> None:
    """A message that is deferred, as there is no tor."""
    with smtplib.LMTP("127.0.0.1", process.lmtp) as session, pytest.raises(smtplib.SMTPDataError):
        session.sendmail("me@sender.test", ["user@example.org"], "Subject: x\r\n\r\nhello\r\n")


def test_control_socket_is_for_its_group_and_tells_what_was_delivered(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        assert process.control.stat().st_mode & 0o777 == 0o660
        send(process)
        assert [day.deferred for day in told(process).days] == [1]
        assert told(process).failing == (), "that tor is away says nothing about the onion MX"
        with closing(http.client.HTTPConnection("localhost")) as connection:
            connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.sock.connect(str(process.control))
            for method, target, status in (
                ("GET", "/metrics", 404),
                ("DELETE", "/status", 405),
                ("HEAD", "/status", 200),
            ):
                connection.request(method, target)
                response = connection.getresponse()
                response.read()
                assert response.status == status
    assert not process.control.exists()
    with running(tmp_path) as process:
        assert [day.deferred for day in told(process).days] == [1], "it is known after a restart"


def test_workers_tell_one_story(tmp_path: Path) -> None:
    with running(tmp_path, workers="2") as process:
        process.daemon.wait_for_log(r"(?s)(relay ready \(process .*){2}")
        for _ in range(6):
            send(process)
        status = told(process)
        assert [day.deferred for day in status.days] == [6]
        assert status.why == ""
    assert not list(tmp_path.glob("relay.sock*"))


def test_mail_does_not_depend_on_the_control_socket(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with running(tmp_path, control=f'"{tmp_path}/file/relay.sock"') as process:
        process.daemon.wait_for_log("relay.control: cannot listen on .*; onionmx status cannot ask this relay")
        assert process.reply()[0] == 451


def test_without_a_control_socket(tmp_path: Path) -> None:
    with running(tmp_path, control='""') as process:
        assert process.reply()[0] == 451
        assert not process.control.exists()
        assert "relay.control" not in process.daemon.log_text()
