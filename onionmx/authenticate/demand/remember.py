"""What domains demand, asked once and remembered for as long as they say; for lookups and for the relay."""

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Protocol, TypeVar

from onionmx.answer import CouldNotTell
from onionmx.authenticate.demand.policy_file import MOST, is_kept, read_policies, write_policies
from onionmx.authenticate.demand.policy_lookup import AsksPolicy, PolicyAnswer
from onionmx.authenticate.demand.requirement import EnforcedPolicy, NotRequired
from onionmx.clock import Clock
from onionmx.domain import Domain
from onionmx.log import fields
from onionmx.saved import SavedError

_T = TypeVar("_T")

REMEMBERED = MOST
"""Domains; those asked longest ago are forgotten above it."""
RETRY = 60.0
"""Seconds after which a domain that could not be asked is asked again."""
SAVE_AFTER = 10.0
"""Seconds for which a new policy waits for others before it is written to the file."""

_logger = logging.getLogger(__name__)


class _Closable(AsksPolicy, Protocol):
    def close(self) -> None:
        """End all attempts."""


class RememberedPolicyLookup:
    """A policy lookup with a memory. Belongs to one event loop.

    Args:
        policy_lookup: asks; closed with this.
    """

    def __init__(self, policy_lookup: _Closable, clock: Clock = time.time) -> None:
        self._policy_lookup = policy_lookup
        self._clock = clock
        self._said: dict[str, tuple[PolicyAnswer, float]] = {}
        self._known: dict[str, EnforcedPolicy] = {}
        self._asking: dict[str, asyncio.Task[PolicyAnswer]] = {}
        self._file: Path | None = None
        self._saving: asyncio.Task[None] | None = None
        self._is_changed = False
        self._is_closing = asyncio.Event()

    def keep_in(self, file: Path) -> None:
        """Take over the policies in a file, and keep there what is found out from now on.

        A file that cannot be read or written is a warning in the log, and no more.
        """
        self._file = file
        try:
            for domain, policy in read_policies(file, self._clock()).items():
                self._known.setdefault(domain, policy)
        except SavedError as error:
            _logger.warning("%s; the policies that were known are fetched anew", error)

    async def requirement_of(self, domain: Domain, known: EnforcedPolicy | None = None) -> PolicyAnswer:
        """What a domain demands: as it said last, or asked for now. A question that is under way is joined.

        Args:
            known: what it demanded in an earlier run, where that is known.
        """
        if known is not None and domain not in self._known:
            _put(self._known, domain, known)
        said, until = self._said.get(domain, (None, 0.0))
        if said is not None and self._clock() < until:
            return said
        task = self._asking.get(domain)
        if task is None:
            task = asyncio.create_task(self._policy_lookup.requirement_of(domain, self._known.get(domain)))
            self._asking[domain] = task
            task.add_done_callback(lambda done: self._told(domain, done))
        # A caller that is cancelled leaves the question to the others.
        return await asyncio.shield(task)

    def inherit(self, former: "RememberedPolicyLookup") -> None:
        """Take over what another one was told, as when the configuration is read again."""
        self._said = dict(former._said)  # noqa: SLF001 -- of the same class
        self._known = dict(former._known)  # noqa: SLF001

    async def close(self) -> None:
        """End all questions, and write what is to be kept."""
        for task in self._asking.values():
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)
        self._policy_lookup.close()
        self._is_closing.set()
        if self._saving is not None:
            await self._saving

    def _told(self, domain: str, task: asyncio.Task[PolicyAnswer]) -> None:
        del self._asking[domain]
        if task.cancelled() or task.exception():
            return
        said = task.result()
        until = self._clock() + RETRY if isinstance(said, CouldNotTell) else said.look_at
        _put(self._said, domain, (said, until))
        known = self._known.get(domain)
        before = _policy(known)
        if isinstance(said, EnforcedPolicy):
            if said.trouble and not (known and known.trouble):
                _logger.warning(
                    "%s: its MTA-STS policy holds, and was not fetched again: %s",
                    domain,
                    said.trouble,
                    extra=fields("policy_not_fetched", domain=domain, reason=said.trouble),
                )
            _put(self._known, domain, said)
        elif isinstance(said, NotRequired):
            self._known.pop(domain, None)
        if self._file is not None and _policy(self._known.get(domain)) != before:
            self._is_changed = True
            if self._saving is None:
                self._saving = asyncio.create_task(self._save(self._file))

    async def _save(self, file: Path) -> None:
        """Write what has changed, and what changes meanwhile."""
        while self._is_changed:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._is_closing.wait(), SAVE_AFTER)
            self._is_changed = False
            without = {domain for domain, (said, _) in self._said.items() if isinstance(said, NotRequired)}
            try:
                await asyncio.to_thread(write_policies, file, dict(self._known), without, self._clock())
            except SavedError as error:
                _logger.warning("%s", error)
            except Exception:
                _logger.exception("internal error")
        self._saving = None


def _policy(requirement: EnforcedPolicy | None) -> EnforcedPolicy | None:
    """What of a requirement is worth writing: not that it was looked at again."""
    return replace(requirement, look_at=0.0, trouble="") if requirement and is_kept(requirement) else None


def _put(remembered: dict[str, _T], domain: str, what: _T) -> None:
    remembered.pop(domain, None)
    remembered[domain] = what
    if len(remembered) > REMEMBERED:
        del remembered[next(iter(remembered))]
