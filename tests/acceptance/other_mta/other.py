"""What an MTA of this room has beside that of Exim and Postfix."""

from dataclasses import dataclass

from tests.acceptance.mta import Mta
from tests.e2e.as_receiver.peer import GUESSES


@dataclass(frozen=True)
class OtherMta(Mta):
    """An MTA of docs/other-mtas.md.

    Args:
        heading: of its section there.
        is_sender: whether it can hand mail to the relay.
        tells_at_once: whether the sender hears of a refused recipient while others of the message still wait.
        add_users: a script that gives mailboxes to users, `{}`.
        guesses: unknown recipients in a row that it is tried with.
        other_case: of its section, steps that are for another case, each by a piece of its text.
    """

    heading: str = ""
    is_sender: bool = True
    tells_at_once: bool = True
    add_users: str = "for user in {}; do useradd --create-home $user; done"
    guesses: int = GUESSES
    other_case: tuple[str, ...] = ()
