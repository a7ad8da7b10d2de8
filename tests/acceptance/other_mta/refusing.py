"""An onion MX that does not take every recipient: an Exim with an onion service in the private Tor network."""

import re
from collections import Counter
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from tests.acceptance.world import World
from tests.e2e.exim import ONION_CLIENTS, Exim
from tests.net.stranger import folder_for_others

DOMAIN = "refusing.example"
TAKEN, REFUSED, LATER = (f"{name}@{DOMAIN}" for name in ("taken", "refused", "later"))
"""Recipients: this one is taken, this one does not exist (550), this one has to wait until it is opened (451)."""
REASON = "the mailbox is being moved"
_ACCESS = """\
  defer
    local_parts = later
    condition = ${{if exists{{{opened}}}{{no}}{{yes}}}}
    message = 4.2.0 {reason}
"""


class RefusingMx:
    """The onion MX; the open DNS has its record meanwhile.

    Args:
        world: around it.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._running = ExitStack()

    def __enter__(self) -> Self:
        """Start it."""
        with ExitStack() as starting:
            folder = starting.enter_context(folder_for_others())
            access, self._opened = folder / "access", folder / "opened"
            access.write_text(_ACCESS.format(opened=self._opened, reason=REASON))
            macros = {"MAILBOXES": "taken : later", "ONIONMX_CHECK_RCPT_LOCAL_ACL_FILE": str(access)}
            self._exim = starting.enter_context(Exim(folder / "exim", DOMAIN, macros))
            onion = self._world.tor.add_onion_service({25: (ONION_CLIENTS, self._exim.port)})
            self._world.dns.records[f"_onion-mx._tcp.{DOMAIN}", "SRV"] = [f"0 5 25 {onion}."]
            self._world.tor.client.wait_until_reachable(onion)
            self._running = starting.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop it."""
        self._running.close()

    def open(self) -> None:
        """Take mail for LATER from here on."""
        self._opened.touch()

    def received(self, subject: str) -> Counter[str]:
        """How often each recipient has got the message with this subject."""
        found = (copy.decode(errors="replace") for copy in self._exim.delivered())
        return Counter(
            recipient
            for copy in found
            if re.search(rf"^Subject: {re.escape(subject)}\r$", copy, re.MULTILINE)
            for recipient in re.findall(r"^Envelope-to: (\S+?)\r$", copy, re.MULTILINE)
        )

    def log_text(self) -> str:
        """Its log."""
        return self._exim.log_text()
