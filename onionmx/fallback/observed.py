"""How long the onion MXes of a domain have failed, as far as this relay has seen it; no I/O.

All times are seconds of a clock that never goes back. A failure counts only when another onion MX has answered within
`EVIDENCE`: else tor or the network of this host may be what fails. Time counts only between two failures that are not
further apart than `GAP`; one answer of any onion MX of the domain sets it back to zero. For a release only the time up
to the last answer of another onion MX counts: what has failed since then may be all of them.
"""

from collections.abc import Callable, Iterable, Mapping

from msgspec import Struct, field

from onionmx.domain import Domain
from onionmx.onion import Endpoint

GAP = 900.0
"""Seconds between two failures up to which the time between them counts."""
EVIDENCE = 600.0
"""Seconds for which the answer of an onion MX shows that tor works and onions can be reached."""
LASTING = 3600.0
"""Seconds after which a release ends that was not confirmed by another failure."""
FORGOTTEN = 86400.0
"""Seconds without such a failure after which counting begins at zero."""
DOMAINS = 10_000
"""Domains that are watched."""
_ANSWERED = 1000  # onion MXes remembered as having answered
_RESOLUTION = 1.0  # seconds between two failures of an onion MX that are looked at: hundreds may come at once


class Watched(Struct):
    """A domain under a rule.

    Attributes:
        targets: its onion MXes.
        failures: of each, since when it has failed without a gap and when it failed last, with evidence.
        failed: seconds for which all of them have been seen failing.
        covered: up to when that is known; `None` where no failure has been seen since the start.
        is_suspect: one has failed since the last answer, with evidence or without.
        is_released: its mail may go over the open internet.
    """

    targets: frozenset[Endpoint]
    failures: dict[Endpoint, tuple[float, float]] = field(default_factory=dict)
    failed: float = 0.0
    covered: float | None = None
    is_suspect: bool = False
    is_released: bool = False


class Kept(Struct, frozen=True):
    """What outlasts a restart: the time between does not count, and no domain is released before it fails again.

    Attributes:
        failed: targets and seconds of failure of each domain.
        answered: onion MXes that have answered, the latest at the end.
    """

    failed: dict[Domain, tuple[list[Endpoint], float]]
    answered: list[Endpoint]


class Observed:
    """Takes in what is seen of onion MXes, and says which domains may be released.

    Args:
        after: seconds of failure after which a domain is released; `None` for never.

    Attributes:
        changes: grows whenever time of failure was set back or a release ended: to be written at once.
    """

    def __init__(self, after: Callable[[Domain], float | None]) -> None:
        self._after = after
        self._domains: dict[Domain, Watched] = {}
        self._of_endpoint: dict[Endpoint, set[Domain]] = {}
        self._looked: dict[Endpoint, float] = {}
        self._answered: dict[Endpoint, float] = {}
        self.changes = 0

    @property
    def released(self) -> frozenset[Domain]:
        """The domains that are released."""
        return frozenset(domain for domain, watched in self._domains.items() if watched.is_released)

    @property
    def confirmed(self) -> float | None:
        """Up to when all released domains are known to fail; `None` where none is released."""
        return min(
            (each.covered for each in self._domains.values() if each.is_released and each.covered is not None),
            default=None,
        )

    @property
    def suspects(self) -> Mapping[Domain, Watched]:
        """The domains one of whose onion MXes has failed since the last answer."""
        return {domain: watched for domain, watched in self._domains.items() if watched.is_suspect}

    def is_released(self, domain: Domain) -> bool:
        """Whether a domain is released."""
        watched = self._domains.get(domain)
        return watched is not None and watched.is_released

    def use(self, after: Callable[[Domain], float | None]) -> None:
        """Take other rules."""
        self._after = after
        for domain, watched in list(self._domains.items()):
            seconds = after(domain)
            if seconds is None:
                self.forget(domain)
            elif watched.is_released and watched.failed < seconds:
                watched.is_released = False
                self.changes += 1

    def wanted(self, domain: Domain, targets: Iterable[Endpoint]) -> None:
        """There is mail for a domain, or it is looked at again: these are its onion MXes now."""
        if self._after(domain) is None:
            self.forget(domain)
            return
        now_targets = frozenset(targets)
        watched = self._domains.get(domain)
        if watched is not None and watched.targets == now_targets:
            self._domains[domain] = self._domains.pop(domain)  # the ones not asked for are forgotten first
            return
        self.forget(domain)
        if len(self._domains) >= DOMAINS and not self._make_room():
            return
        self._put(domain, Watched(now_targets))

    def failed(self, endpoint: Endpoint, now: float) -> None:
        """An onion MX could not be reached, or broke off; a failure of tor or of this host is none."""
        domains = self._of_endpoint.get(endpoint)
        if not domains or now - self._looked.get(endpoint, now - _RESOLUTION) < _RESOLUTION:
            return
        self._looked[endpoint] = now
        for domain in domains:
            watched = self._domains[domain]
            watched.is_suspect = True
            if self._evidence(watched, now) is not None:
                _advance(watched, endpoint, now)

    def answered(self, endpoint: Endpoint, now: float) -> None:
        """A session with an onion MX has come about."""
        self._answered.pop(endpoint, None)
        self._answered[endpoint] = now
        if len(self._answered) > _ANSWERED:
            del self._answered[next(iter(self._answered))]
        for domain in self._of_endpoint.get(endpoint, ()):
            watched = self._domains[domain]
            if watched.is_suspect:
                self.changes += bool(watched.failed or watched.is_released)
                self._domains[domain] = Watched(watched.targets)

    def due(self, now: float) -> list[Domain]:
        """The domains that may be released now, and are not."""
        return [domain for domain, each in self._domains.items() if not each.is_released and self._is_due(domain, now)]

    def release(self, domain: Domain, now: float) -> bool:
        """Release a domain, if it is still due."""
        if domain not in self._domains or not self._is_due(domain, now):
            return False
        self._domains[domain].is_released = True
        return True

    def expire(self, now: float) -> None:
        """End the releases that nothing has confirmed for long; their time of failure stays."""
        for watched in self._domains.values():
            if watched.is_released and (watched.covered is None or now - watched.covered > LASTING):
                watched.is_released = False
                self.changes += 1

    def withhold(self, domain: Domain) -> None:
        """End a release; the time of failure stays."""
        watched = self._domains.get(domain)
        if watched is not None and watched.is_released:
            watched.is_released = False
            self.changes += 1

    def forget(self, domain: Domain) -> None:
        """Watch a domain no longer; if it is released, that ends."""
        watched = self._domains.pop(domain, None)
        if watched is None:
            return
        self.changes += bool(watched.failed or watched.is_released)
        for endpoint in watched.targets:
            domains = self._of_endpoint[endpoint]
            domains.discard(domain)
            if not domains:
                del self._of_endpoint[endpoint]
                self._looked.pop(endpoint, None)

    def failed_for(self, domain: Domain) -> float:
        """Seconds of failure that were seen."""
        return self._domains[domain].failed if domain in self._domains else 0.0

    def last_answer(self) -> float | None:
        """When an onion MX answered last; `None` where none has since the start."""
        return next(reversed(self._answered.values()), None)

    def controls(self) -> list[Endpoint]:
        """Onion MXes that have answered and are not failing, the latest first: if one answers now, tor works."""
        failing = {onion for watched in self.suspects.values() for onion, _ in watched.targets}
        return [endpoint for endpoint in reversed(self._answered) if endpoint[0] not in failing]

    def keep(self) -> Kept:
        """What is to be known after a restart."""
        failed = {
            domain: (sorted(watched.targets), watched.failed)
            for domain, watched in self._domains.items()
            if watched.is_suspect
        }
        return Kept(failed, list(self._answered))

    def restore(self, kept: Kept) -> None:
        """Take over what was kept before a restart."""
        for endpoint in kept.answered:
            self._answered.setdefault(endpoint, -EVIDENCE * 2)  # long ago: whom to ask, and no evidence
        for domain, (targets, failed) in kept.failed.items():
            if domain not in self._domains and len(self._domains) < DOMAINS and self._after(domain) is not None:
                self._put(domain, Watched(frozenset(targets), failed=failed, is_suspect=True))

    def _put(self, domain: Domain, watched: Watched) -> None:
        self._domains[domain] = watched
        for endpoint in watched.targets:
            self._of_endpoint.setdefault(endpoint, set()).add(domain)

    def _make_room(self) -> bool:
        """Forget the domain without failure that was asked for longest ago; whether there is one."""
        oldest = next((domain for domain, watched in self._domains.items() if not watched.is_suspect), None)
        if oldest is not None:
            self.forget(oldest)
        return oldest is not None

    def _is_due(self, domain: Domain, now: float) -> bool:
        watched, after = self._domains[domain], self._after(domain)
        if after is None or watched.covered is None or watched.failed < after:
            return False
        evidence = self._evidence(watched, now)
        if evidence is None or now - watched.covered > GAP:
            return False
        return watched.failed - max(0.0, watched.covered - evidence) >= after

    def _evidence(self, watched: Watched, now: float) -> float | None:
        """When an onion MX that is none of the domain's answered last, if that was lately."""
        own = {onion for onion, _ in watched.targets}
        for (onion, _), when in reversed(self._answered.items()):
            if now - when > EVIDENCE:
                return None
            if onion not in own:
                return when
        return None


def _advance(watched: Watched, endpoint: Endpoint, now: float) -> None:
    """Count the time for which all targets are now known to fail."""
    begun, last = watched.failures.get(endpoint, (now, now))
    if now - last > FORGOTTEN:
        watched.failed = 0.0
    watched.failures[endpoint] = (now if now - last > GAP else begun, now)
    if len(watched.failures) < len(watched.targets):
        return
    covered = min(last for _, last in watched.failures.values())
    start = max(begun for begun, _ in watched.failures.values())
    if watched.covered is not None:
        start = max(start, watched.covered)
    watched.failed += max(0.0, covered - start)
    watched.covered = covered
