"""The status page of a real `onionmx serve` beside a real relay, in Chromium and in a text browser.

    browser -> onionmx serve -> relay.sock of onionmx relay

An attacker's page is on another port of this machine, and his name leads to the port of serve (DNS rebinding).
"""

import html
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import urlopen

import pytest

from onionmx.status.deliveries import NAME, write_deliveries
from onionmx.status.model import DayCount, FailingDestination, FailureKind
from tests.mapfile.maps import A
from tests.serve.daemon import ONIONMX, Serve

from .browser import Browser, first_pixel
from .daemon import Daemon, free_ports
from .programs import find_program

ATTACKER = "attacker.example"
LIGHT, DARK = (0xFB, 0xFB, 0xFA), (0x16, 0x16, 0x18)
NARROW = 320
TRIES = """<!doctype html><title>nothing yet</title><script>
const target = "TARGET", got = [];
const loaded = (tag, attribute) => new Promise(done => {
  const element = document.createElement(tag);
  element.onload = () => done(got.push(tag + " loaded"));
  element.onerror = () => done(got.push(tag + " failed"));
  element[attribute] = target + (tag === "link" ? "/status.css" : "/");
  if (tag === "link") element.rel = "stylesheet";
  document.documentElement.append(element);
});
const fetched = async mode => {
  try { got.push(mode + " " + (await fetch(target + "/", {mode})).type); } catch { got.push(mode + " failed"); }
};
Promise.all([loaded("img", "src"), loaded("script", "src"), loaded("link", "href"), fetched("cors"),
  fetched("no-cors")]).then(() => { document.title = got.sort().join(", "); });
</script>"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def site(folder: Path) -> Iterator[Serve]:
    """serve, which also has a unix socket, and a relay that knows of a destination that fails."""
    now = time.time()
    lmtp, tcp, unused = free_ports(3)
    failing = FailingDestination(
        onion=A,
        port=25,
        domains=("secret.example",),
        kind=FailureKind.NOT_PUBLISHED,
        reason="<script>document.title='broken'</script>",
        failures=3,
        since=now - 7200,
        last=now - 60,
    )
    day = time.strftime("%Y-%m-%d", time.localtime(now))
    write_deliveries(folder / NAME, {(A, 25, ""): failing}, {day: DayCount(day=day, delivered=41, refused=1)}, now)
    serve = Serve(folder)
    names = f'["127.0.0.1:{serve.http}", "unix:{folder}/http"]'
    head = (
        f'[relay]\nsmtp_listen = []\nlmtp_listen = ["127.0.0.1:{lmtp}"]\ncontrol = "{folder}/relay.sock"\n'
        f'hostname = "mx.example.org"\n[tor]\nsocks = "127.0.0.1:{unused}"\ndnsport = "127.0.0.1:{tcp}"\n'
    )
    serve.configure(head=head, http_listen=names)
    environment = {"NOTIFY_SOCKET": str(folder / "notify")}
    with Daemon("relay", [ONIONMX, "relay", "--config", serve.configuration], folder, environment) as relay:
        relay.wait_for_log("relay ready")
        with serve.daemon as daemon:
            daemon.wait_for_log("lookups ready")
            yield serve


@pytest.fixture(scope="module")
def browser(folder: Path) -> Browser:
    return Browser(folder, (ATTACKER,))


def test_what_a_visitor_sees(site: Serve, browser: Browser) -> None:
    page = browser.document(f"http://127.0.0.1:{site.http}/")
    assert "<title>onionmx on " in page
    assert "not published" in page
    assert "41 delivered, 1 refused" in page
    assert A not in page
    assert "secret.example" not in page
    assert browser.console == []  # nor is anything there that the policy forbids


def test_dark_and_light(site: Serve, browser: Browser) -> None:
    url = f"http://localhost:{site.http}/"
    assert first_pixel(browser.picture(url, (700, 900))) == LIGHT
    assert first_pixel(browser.picture(url, (700, 900), is_dark=True)) == DARK


def test_it_fits_on_a_narrow_screen(site: Serve, browser: Browser, folder: Path) -> None:
    """With the names, which are long; a script around the page measures it, as the page itself has none."""
    curl = ["curl", "--silent", "--fail", "--unix-socket", str(folder / "http"), "http://serve/"]
    page = subprocess.run(curl, capture_output=True, text=True, check=True).stdout
    assert A in page
    assert "&lt;script&gt;document.title=&#39;broken&#39;" in page
    with urlopen(f"http://127.0.0.1:{site.http}/status.css", timeout=120) as answer:
        style = answer.read().decode()
    page = re.sub("<link rel=.stylesheet.[^>]*>", lambda _: f"<style>{style}</style>", page)
    measuring = folder / "narrow.html"
    measuring.write_text(
        f'<iframe width={NARROW} height=600 style="border:0" srcdoc="{html.escape(page)}" onload="document.title = '
        '`${this.contentDocument.title}: ${this.contentDocument.documentElement.scrollWidth}`"></iframe>'
    )
    title = re.search("<title>(.*?)</title>", browser.document(measuring.as_uri()))
    assert title is not None
    name, _, width = title[1].rpartition(": ")
    assert name.startswith("onionmx on ")
    assert int(width) <= NARROW


def test_pages_of_others_get_nothing(site: Serve, browser: Browser) -> None:
    tries = TRIES.replace("TARGET", f"http://127.0.0.1:{site.http}").encode()

    class Attacker(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(tries)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            del format, args

    with ThreadingHTTPServer(("127.0.0.1", 0), Attacker) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for host in (ATTACKER, "127.0.0.1"):  # another site, and another port of the same
            page = browser.document(f"http://{host}:{server.server_port}/")
            failed = "cors failed, img failed, link failed, no-cors failed, script failed"
            assert f"<title>{failed}</title>" in page
            assert browser.console  # the browser says why
        server.shutdown()


def test_a_name_that_was_bound_to_this_machine_gets_nothing(site: Serve, browser: Browser) -> None:
    page = browser.document(f"http://{ATTACKER}:{site.http}/")
    assert "ask for localhost, an IP address, this machine" in page
    assert "Deliveries" not in page


def test_in_a_text_browser(site: Serve) -> None:
    command = [str(find_program("w3m")), "-dump", "-cols", "100", f"http://127.0.0.1:{site.http}/"]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    assert re.search(r"Map +OK 1 entries", text)
    assert re.search(r"Destinations that fail +PROBLEM 1", text)
    assert re.search(r"today +41 +1 +0", text)
    assert re.search(r"tor +PROBLEM it does not answer", text)
