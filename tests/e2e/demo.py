"""`make demo`: the main job on a private Tor network, told as it goes."""

import logging
import shutil
import sys
import tempfile
import time
from pathlib import Path
from subprocess import CompletedProcess

from rich.console import Console

from .echo_site import RECEIVER, EchoSite
from .site import DOMAIN, SENDER, WITHOUT, Site
from .tor_network import TorNetwork

MESSAGE = f"""From: Alice <alice@{SENDER}>
To: Bob <user@{DOMAIN}>
Subject: Hello over Tor

Nobody on the way saw who writes to whom.
""".replace("\n", "\r\n").encode()

console = Console(highlight=False, markup=False, soft_wrap=True)


def step(text: str) -> None:
    """Say what comes next."""
    console.print(f"\n* {text}", style="bold")


def show(text: str) -> None:
    """Show what a program printed."""
    for line in text.rstrip().splitlines():
        console.print(f"    {line.rstrip()}")


def show_output(result: CompletedProcess[str]) -> None:
    """Show what a command printed, to both outputs."""
    show(result.stdout + result.stderr)


def tell(site: Site) -> None:
    """Do the main job step by step."""
    step(f"{DOMAIN} runs an onion MX: an Exim that listens on 127.0.0.2, behind this onion service")
    show(site.onion)
    step(f"It says so in DNS, in a signed zone that a real name server publishes (_onion-mx._tcp.{DOMAIN})")
    show(site.record)
    step(f"The sender {SENDER} finds out which domains have such a record: onionmx sync {site.domains.name}")
    show_output(site.onionmx("sync"))
    step(f"What the map has now: onionmx map get {DOMAIN}, and onionmx lookup --live {DOMAIN} {WITHOUT}")
    show_output(site.onionmx("map", "get", DOMAIN))
    show_output(site.onionmx("lookup", "--live", DOMAIN, WITHOUT))
    step(f"Exim asks for the virtual address that tor gives the onion: onionmx-route {DOMAIN}")
    show_output(site.route(DOMAIN))
    step("The way of two addresses: exim -bt")
    show(site.sender.route_test(f"user@{DOMAIN}"))
    show(site.sender.route_test(f"user@{WITHOUT}"))
    deliver(site)
    refuse_to_leak(site)


def deliver(site: Site) -> None:
    """Send a message over Tor and show it as it arrived."""
    step(f"alice@{SENDER} writes to user@{DOMAIN}")
    start = time.monotonic()
    site.sender.submit(f"alice@{SENDER}", [f"user@{DOMAIN}"], MESSAGE)
    (stored,) = site.receiver.wait_for_delivered(1)
    seconds = time.monotonic() - start
    show(site.sender.wait_for_log(r"^.*=> user.*$").group())
    step(f"The message as it arrived, {seconds:.2f} s after it was handed to Exim")
    show(stored.decode())


def refuse_to_leak(site: Site) -> None:
    """Stop tor and show that the mail waits."""
    step("Now tor is stopped. Mail to the onion MX waits; it is never sent another way, and the log says why")
    site.tor.client.stop()
    site.sender.submit(f"alice@{SENDER}", [f"user@{DOMAIN}"], MESSAGE)
    show(site.sender.wait_for_log(r"^.* == user.*defer.*$").group())
    step("tor is started again, and the queue is run")
    site.tor.client.start()
    site.tor.client.wait_until_reachable(site.onion)
    site.sender.run_queue()
    site.receiver.wait_for_delivered(2)
    show(site.sender.wait_for_log(r"=> user(?:.|\n)*^(?P<last>.*=> user.*)$")["last"])


def show_the_way(site: EchoSite) -> None:
    """Have an echo say which way a message came, as an administrator does at the end of the set-up."""
    step(f"Does mail really go over Tor? onionmx selftest echo@{RECEIVER}: through Exim, to an echo, and back")
    show_output(site.selftest(f"echo@{RECEIVER}"))


def main() -> int:
    """Tell the story; everything that was started is stopped and removed at the end."""
    logging.getLogger("stem").setLevel(logging.CRITICAL)
    folder = Path(tempfile.mkdtemp(prefix="onionmx-demo-"))
    folder.chmod(0o755)  # Exim's helper is another user when it reads the map
    try:
        step("Starting a private Tor network on this machine (about half a minute)")
        start = time.monotonic()
        with TorNetwork() as tor:
            show(f"{time.monotonic() - start:.1f} s: a directory authority, relays, a client, a host of onion services")
            with Site(tor, folder / "site") as site:
                tell(site)
            with EchoSite(tor, folder / "echo") as echo_site:
                show_the_way(echo_site)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    step("Done. Everything that was started has been stopped and removed.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
