"""Whether the descriptor of an onion service is with the onion service directories (torspec rend-spec-v3 section 2).

Clients find a service only through it. tor is asked to fetch it as a client would, so that the directories answer and
not the service's own belief.
"""

import time
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Self

from stem import OperationFailed
from stem.control import EventType

from onionmx.onion import SUFFIX

if TYPE_CHECKING:
    from stem.control import Controller
    from stem.response.events import HSDescEvent

FETCH_TIMEOUT = 30.0
"""Seconds; a fetch takes a circuit and one answer."""
_DESCRIPTORS = 2
"""Of each service at any time: for this time period and for the next (rend-spec-v3 section 2.2.1)."""
_REQUEST_GRACE = 1.0  # seconds until the event that says that tor asks a directory; it is sent before the command's OK
_NOBODY_LEFT = ("QUERY_NO_HSDIR", "QUERY_RATE_LIMITED")
_UPLOAD_REJECTED = "UPLOAD_REJECTED"
_NOT_FOUND = "NOT_FOUND"


class Publication(StrEnum):
    """The three answers."""

    PUBLISHED = "published"
    NOT_PUBLISHED = "not published"
    UNKNOWN = "could not tell"


@dataclass(frozen=True, slots=True)
class PublishedDescriptor:
    """Whether a service can be found.

    Attributes:
        state: the answer.
        words: what was seen, for an operator.
        directories: that are known to have the descriptor.
        without: that were asked now and have it not, where none that answered has it.
    """

    state: Publication
    words: str
    directories: int = 0
    without: int = 0

    def __str__(self) -> str:
        return f"{self.state}: {self.words}"


class DescriptorEvents:
    """What tor does with descriptors of one service while this context is open."""

    def __init__(self, controller: "Controller") -> None:
        self._controller = controller
        self._events: SimpleQueue[HSDescEvent] = SimpleQueue()

    def __enter__(self) -> Self:
        """Listen."""
        self._controller.add_event_listener(self._events.put, EventType.HS_DESC)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Listen no longer; a connection that is gone listens no longer either."""
        if self._controller.is_alive():
            self._controller.remove_event_listener(self._events.put)

    def next(self, onion: str, deadline: float) -> "HSDescEvent | None":
        """The next event of a service; `None` when there is none before the deadline of `time.monotonic`."""
        while True:
            try:
                event = self._events.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                return None
            if event.address == onion.removesuffix(SUFFIX):
                return event

    def wait_for_uploads(self, onion: str, timeout: float) -> PublishedDescriptor:
        """Wait until all directories that tor chose have both descriptors.

        After the first one alone a client may still ask a directory that has nothing yet.

        Args:
            onion: the service, made after this context was opened.
            timeout: seconds.
        """
        descriptors: set[str] = set()
        pending: Counter[str] = Counter()
        having: set[str] = set()
        rejected = 0
        if _is_offline(self._controller):
            return PublishedDescriptor(Publication.UNKNOWN, _connection(self._controller))
        deadline = time.monotonic() + timeout
        while len(descriptors) < _DESCRIPTORS or any(pending.values()):
            event = self.next(onion, deadline)
            if event is None:
                break
            directory = event.directory_fingerprint
            if event.action == "UPLOAD":
                descriptors.add(event.descriptor_id)
                pending[directory] += 1
            elif event.action == "UPLOADED":
                pending[directory] -= 1
                having.add(directory)
            elif event.action == "FAILED" and event.reason == _UPLOAD_REJECTED:
                pending[directory] -= 1
                rejected += 1
        count = len(having)
        if count:
            return PublishedDescriptor(Publication.PUBLISHED, f"{_counted(count)} took the descriptor", count)
        if rejected:
            return PublishedDescriptor(
                Publication.NOT_PUBLISHED, f"directories rejected the descriptor {rejected} times"
            )
        return PublishedDescriptor(
            Publication.UNKNOWN,
            f"no directory took the descriptor within {timeout:g} s; {_connection(self._controller)}",
        )


def published(controller: "Controller", onion: str, timeout: float = FETCH_TIMEOUT) -> PublishedDescriptor:
    """Ask the directories for the descriptor of an onion service.

    One that has it is enough. tor asks no directory twice within 15 minutes; where none is left to be asked, a
    descriptor that it fetched before counts.

    Args:
        onion: a service, of this tor or not.
        timeout: seconds.

    Raises:
        stem.ControllerError: tor cannot be asked; `open_control` makes a ControlError of it.
    """
    if controller.get_info("status/enough-dir-info") != "1":
        return PublishedDescriptor(Publication.UNKNOWN, _connection(controller))
    with DescriptorEvents(controller) as events:
        search = _Search(controller, onion)
        return search.run(events, timeout)


class _Search:
    """Asks one directory after the other until one has the descriptor, each has been asked, or time is over."""

    def __init__(self, controller: "Controller", onion: str) -> None:
        self._controller = controller
        self._onion = onion
        self._pending: set[str] = set()
        self._without: set[str] = set()
        self._unusable: dict[str, str] = {}

    def run(self, events: DescriptorEvents, timeout: float) -> PublishedDescriptor:
        deadline = time.monotonic() + timeout
        while True:
            # After a "not found" tor may go on by itself, and starts anew when all have said it.
            if not self._pending:
                self._ask()
            event = self._next_answer(events, deadline)
            if event is None and (self._pending or time.monotonic() >= deadline):
                return PublishedDescriptor(Publication.UNKNOWN, f"no directory answered within {timeout:g} s")
            if event is None or event.reason in _NOBODY_LEFT:
                return self._all_asked()
            directory = event.directory_fingerprint
            if event.action == "RECEIVED":
                return PublishedDescriptor(Publication.PUBLISHED, _found(len(self._without)), 1)
            self._pending.discard(directory)
            if directory in self._without or directory in self._unusable:
                return self._all_asked()
            if event.reason == _NOT_FOUND:
                self._without.add(directory)
            else:
                self._unusable[directory] = str(event.reason)

    def _ask(self) -> None:
        answer = self._controller.msg(f"HSFETCH {self._onion.removesuffix(SUFFIX)}")
        if not answer.is_ok():
            raise OperationFailed(message=f"HSFETCH: {answer}")

    def _next_answer(self, events: DescriptorEvents, deadline: float) -> "HSDescEvent | None":
        while True:
            grace = deadline if self._pending else min(deadline, time.monotonic() + _REQUEST_GRACE)
            event = events.next(self._onion, grace)
            if event is None:
                return None
            if event.action == "REQUESTED":
                self._pending.add(event.directory_fingerprint)
            elif event.action == "RECEIVED" or (event.action == "FAILED" and event.reason != _UPLOAD_REJECTED):
                return event

    def _all_asked(self) -> PublishedDescriptor:
        if self._unusable:
            reason = next(iter(self._unusable.values()))
            return PublishedDescriptor(Publication.UNKNOWN, f"a directory gave no usable answer ({reason})")
        return _without_fetch(self._controller, self._onion, len(self._without))


def _without_fetch(controller: "Controller", onion: str, without: int) -> PublishedDescriptor:
    """The answer where tor has no directory left to ask."""
    # What tor fetched it keeps for three hours at most; hs/service/desc is no measure, tor encodes that anew each time.
    if not _was_fetched(controller, onion):
        if without:
            return PublishedDescriptor(
                Publication.NOT_PUBLISHED, f"{_counted(without)} asked, and none has the descriptor", without=without
            )
        words = "tor asked all directories in the last 15 minutes, and asks none twice in that time"
        return PublishedDescriptor(Publication.UNKNOWN, words)
    words = "a directory gave out the descriptor within the last hours"
    if without:
        words = f"{words}, but {_counted(without)} asked now had it not"
        return PublishedDescriptor(Publication.UNKNOWN, words, without=without)
    return PublishedDescriptor(Publication.PUBLISHED, f"{words}, and tor asks none twice within 15 minutes", 1)


def _was_fetched(controller: "Controller", onion: str) -> bool:
    try:
        return bool(controller.get_info(f"hs/client/desc/id/{onion.removesuffix(SUFFIX)}"))
    except OperationFailed:
        return False


def _is_offline(controller: "Controller") -> bool:
    return bool(controller.get_conf("DisableNetwork", "0") == "1")


def _connection(controller: "Controller") -> str:
    if _is_offline(controller):
        return "tor has DisableNetwork 1"
    phase = controller.get_info("status/bootstrap-phase")
    progress = phase.partition("PROGRESS=")[2].partition(" ")[0]
    if progress == "100":
        return "tor is connected to the network"
    return f"tor is not connected to the network yet (bootstrapped {progress} %)"


def _found(without: int) -> str:
    return "a directory has the descriptor" + (f", {without} asked before it had not" if without else "")


def _counted(count: int) -> str:
    return "1 directory" if count == 1 else f"{count} directories"
