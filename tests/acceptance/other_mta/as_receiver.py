"""The MTA of a machine as the receiver of a relay elsewhere; see `tests.e2e.as_receiver`."""

import re
from collections.abc import Iterator
from pathlib import Path

from tests.acceptance.site import Site
from tests.acceptance.world import LOCAL
from tests.e2e.as_receiver.peer import USERS, Copy, Peer
from tests.e2e.as_receiver.proof import prove
from tests.net.stranger import folder_for_others

from .known import OTHERS


def as_receiver(site: Site) -> None:
    """What it announces is in the docs, and a relay gets all kinds of messages to its onion service."""
    print("--- as the receiver of a relay", flush=True)
    machine, mta = site.machine, OTHERS[site.mta.name]
    onion = machine.path("/var/lib/tor/onion-mx/hostname").read_text().strip()
    machine.run(mta.add_users.format(" ".join(USERS)))
    program, version = machine.read(mta.version).split()[:2]
    peer = Peer(program, version, onion, LOCAL, lambda: list(_copies(machine.root)), guesses=mta.guesses)
    tor = site.world.tor.client
    tor.wait_until_reachable(onion)
    with folder_for_others() as folder:
        prove(peer, tor.socks, folder / "relays")


def _copies(root: Path) -> Iterator[Copy]:
    """What is in the mailboxes of a machine, be they folders or files."""
    for user in USERS:
        for file in sorted(root.glob(f"home/{user}/Maildir/new/*")):
            yield Copy(user, file.read_bytes())
        mailbox = root / "var/mail" / user
        if mailbox.exists():
            for content in messages(mailbox.read_bytes()):
                yield Copy(user, content)


def messages(mailbox: bytes) -> list[bytes]:
    """The messages of a mailbox file, with the lines that were changed because they begin with `From ` as they were."""
    found = re.split(rb"(?:\A|(?<=\n)\n)From .*\n", mailbox)
    return [re.sub(rb"^>(>*From )", rb"\1", message, flags=re.MULTILINE) for message in found[1:]]
