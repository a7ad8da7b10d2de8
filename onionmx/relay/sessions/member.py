"""The sessions of a pool: what they lead to, how they began, and how many transactions they take."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from msgspec import Struct

from onionmx.authenticate.demand.requirement import Demand
from onionmx.onion import Endpoint
from onionmx.smtp.client.session import ClientSession


class Destination(NamedTuple):
    """An onion MX, and what a session with it is good for: one that was opened for less is never used for more.

    Attributes:
        endpoint: onion and port.
        demand: what its certificate was, or is to be, checked for; `None` for nothing.
    """

    endpoint: Endpoint
    demand: Demand | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """A new session.

    Attributes:
        session: EHLO said.
        stages: seconds that each stage of opening it took.
        broke: is called when the session ends otherwise than by us.
        confirmation: for a session that began early: true once the peer has let it come about, false if it has to be
            opened again the ordinary way; raises what opening a session raises. `None` for other sessions.
    """

    session: ClientSession
    stages: dict[str, float]
    broke: Callable[[], None] = lambda: None
    confirmation: asyncio.Task[bool] | None = None


@dataclass(eq=False, slots=True)
class Member:
    """A session of the pool.

    Attributes:
        opened: the session.
        limit: transactions that it may have.
        uses: transactions that were given to it.
        leases: transactions that have it now.
        exclusive: one that must not share it has it now.
        was_idle: nobody had it when it was taken the last time, so the peer may have closed it before.
        idle: closes it, while nobody has it.
    """

    opened: Opened
    limit: int
    uses: int = 0
    leases: int = 0
    exclusive: bool = False
    was_idle: bool = False
    idle: asyncio.TimerHandle | None = field(default=None, repr=False)

    @property
    def session(self) -> ClientSession:
        """What messages are sent through."""
        return self.opened.session

    @property
    def is_confirmed(self) -> bool:
        """Whether its peer has let it come about."""
        return self.opened.confirmation is None or not self.session.is_unconfirmed

    @property
    def has_room(self) -> bool:
        """Whether it may have another transaction."""
        return self.session.is_usable and self.uses < (self.limit if self.is_confirmed else 1)

    def retire(self) -> None:
        """Give it no further transaction."""
        self.limit = 0


async def wait_until_known(confirmation: asyncio.Task[bool]) -> None:
    """Wait until it is known what came of a session that began early.

    Raises:
        TemporaryError: the onion MX cannot be reached, however a session with it is opened.
    """
    await asyncio.wait((confirmation,))
    if not confirmation.cancelled():
        confirmation.result()


class Lease(Struct, frozen=True):
    """A session for one transaction.

    Attributes:
        session: to be used for one transaction.
        reused: another transaction has had it before.
        was_idle: nobody had it before, so the peer may have closed it meanwhile.
        stages: seconds that each stage of opening it took; empty where it is reused.
        confirmation: see `Opened`.
        retire: lets no other transaction have the session after those that have it now.
    """

    session: ClientSession
    reused: bool
    was_idle: bool
    stages: dict[str, float]
    confirmation: asyncio.Task[bool] | None = None
    retire: Callable[[], None] = lambda: None
