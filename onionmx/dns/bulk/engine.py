"""The bulk engine: fast questions over few ports, and the ordinary resolver for all that needs a closer look."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from time import monotonic
from typing import TYPE_CHECKING

from onionmx.answer import Answer, Ask, CouldNotTell, NoRoute
from onionmx.config import DnsSection, Resolver
from onionmx.dns.bulk.nothing import read_nothing
from onionmx.dns.bulk.ordinary import OrdinaryQueue
from onionmx.dns.bulk.pace import Limits, Pace
from onionmx.dns.bulk.ports import BulkQuestion, Port, SourcePorts
from onionmx.dns.choice import Choice
from onionmx.dns.srv import answer_without_question
from onionmx.dns.wire import ask_for, is_reply
from onionmx.domain import SRV_PREFIX
from onionmx.errors import OwnerError
from onionmx.target import Trust

if TYPE_CHECKING:
    from onionmx.net.owner import ListenerOwner

_ATTEMPTS = 4  # of a question, each with twice the time of the one before, and from another port
_TICK = 0.02  # seconds between two looks at the time
_AT_ONCE = 1000  # domains that are taken from the caller before others have their turn
_HEADER = 12  # bytes (RFC 1035 section 4.1.1)
_AD, _RCODE = 0x20, 0x0F  # in the second byte of the flags
_RCODES_OF_ANSWERS = {0, 3}  # NOERROR and NXDOMAIN
_PROBE = ask_for("invalid")  # resolvers know by themselves that there is no such name (RFC 6761 section 6.4)


class _Server:
    """One resolver."""

    def __init__(self, resolver: Resolver, pace: Pace, choice: Choice, read: "Callable[[_Server, Port], None]") -> None:
        self.resolver = resolver
        self._choice = choice
        self._listener: ListenerOwner | None = None
        self.is_read = False
        self.pace = pace
        self.ports = SourcePorts(resolver, partial(read, self))

    def forget_turn(self) -> None:
        """Let the next packets be read."""
        self.is_read = False

    def look(self) -> None:
        """See who will get what is sent now.

        Raises:
            OwnerError: somebody else.
        """
        if self._listener is None:
            self._listener = self._choice.listener(self.resolver, is_udp=True)

    def confirm(self) -> bool:
        """Whether what has come since is from the same."""
        try:
            if self._listener is not None:
                self._listener.confirm()
        except OwnerError:
            self._listener = None
            return False
        return True


class Engine:
    """Asks for many domains; for one use.

    Args:
        settings: timeouts, and what the ordinary resolver may be asked.
        resolvers: who is asked by UDP and within which limits, the best first; without any, all questions go to the
            ordinary resolver.
        choice: that the resolvers are of.
    """

    def __init__(
        self, settings: DnsSection, ordinary: Ask, resolvers: Mapping[Resolver, Limits], choice: Choice
    ) -> None:
        self._settings = settings
        self._choice = choice
        self._ready: list[Answer] = []
        self._wake = asyncio.Event()
        self._ordinary = OrdinaryQueue(ordinary, settings, self._add_ready, self._wake.set)
        self._again: deque[BulkQuestion] = deque()
        self._times = [settings.timeout * 2**attempt / (2**_ATTEMPTS - 1) for attempt in range(_ATTEMPTS)]
        self._servers = [self._server(resolver, limits) for resolver, limits in resolvers.items()]
        self._most_again = sum(limits.concurrency for limits in resolvers.values())
        self._timer: asyncio.TimerHandle | None = None
        self._is_exhausted = False

    async def answers(self, domains: Iterable[str]) -> AsyncGenerator[Answer, None]:
        """Give one answer for each domain, in any order; see `ask_many`."""
        names = iter(domains)
        self._tick()
        try:
            while True:
                self._go_on(names)
                ready, self._ready = self._ready, []
                for answer in ready:
                    yield answer
                if self._ordinary.error is not None:
                    raise self._ordinary.error
                if ready:
                    await asyncio.sleep(0)
                elif self._is_exhausted and self._is_idle():
                    return
                else:
                    for server in self._servers:
                        server.pace.wait()
                    self._wake.clear()
                    await self._wake.wait()
        finally:
            await self._close()

    def _server(self, resolver: Resolver, limits: Limits) -> _Server:
        pace = Pace(limits, monotonic())
        return _Server(resolver, pace, self._choice, self._read)

    def _go_on(self, names: Iterator[str]) -> None:
        """Ask as much as may be asked now."""
        if not self._servers:
            self._leave_to_ordinary(names)
            return
        now = monotonic()
        for server in self._servers:
            server.pace.turn(now)
        alive = [server for server in self._servers if not server.pace.is_dead]
        if not alive:
            self._give_up(names)
            return
        usable = [server for server in alive if not server.pace.is_quiet(now)] or alive
        while self._again:
            server = usable[self._again[0].attempt % len(usable)]
            if not server.pace.room(now):
                break
            question = self._again.popleft()
            question.deadline, question.is_odd = now + self._times[question.attempt], False
            self._send(server, [question], now)
        if not self._ordinary.is_full and len(self._again) < self._most_again:
            server = usable[0]
            self._send(server, self._new_questions(names, server.pace.room(now), now + self._times[0]), now)

    def _new_questions(self, names: Iterator[str], count: int, deadline: float) -> list[BulkQuestion]:
        questions = []
        for domain in self._take(names, count):
            answer = answer_without_question(domain)
            if answer is None:
                questions.append(BulkQuestion(domain, ask_for(domain), deadline))
            else:
                self._ready.append(answer)
        return questions

    def _take(self, names: Iterator[str], count: int) -> list[str]:
        taken = list(islice(names, count))
        self._is_exhausted = self._is_exhausted or len(taken) < count
        return taken

    def _leave_to_ordinary(self, names: Iterator[str]) -> None:
        while not self._ordinary.is_full and not self._is_exhausted:
            for domain in self._take(names, 1):
                self._ordinary.add(domain)

    def _give_up(self, names: Iterator[str]) -> None:
        """Nobody answers: say so at once for all that is left, instead of waiting for each."""
        words = "; ".join(f"{server.resolver}: {server.pace.why_dead}" for server in self._servers)
        domains = [question.domain for question in self._again] + self._ordinary.clear()
        self._again.clear()
        for domain in [*domains, *self._take(names, _AT_ONCE)]:
            self._ready.append(CouldNotTell(domain, f"{SRV_PREFIX}{domain}: no resolver could answer; {words}"))

    def _send(self, server: _Server, questions: Sequence[BulkQuestion], now: float) -> None:
        count = 0
        try:
            server.look()
            while count < len(questions):
                count += server.ports.send(questions, count)
        except (OSError, OwnerError) as error:
            server.pace.fail(getattr(error, "strerror", None) or str(error))
            self._again.extend(questions[count:])
        server.pace.sent(count, now)

    def _read(self, server: _Server, port: Port) -> None:  # noqa: ARG002 -- of the loop, which tells of each port
        """Read what has come to all ports, once in a turn of the loop: one look at who sends it is then enough."""
        if server.is_read:
            return
        server.is_read = True
        asyncio.get_running_loop().call_soon(server.forget_turn)
        unread = [(each, each.packets()) for each in server.ports if each.waiting]
        if server.confirm():  # else they count as lost
            for each, packets in unread:
                self._take_packets(server, each, packets)

    def _take_packets(self, server: _Server, port: Port, packets: Sequence[bytes]) -> None:
        waiting, ready = port.waiting, self._ready
        answers = failures = 0
        for packet in packets:
            number = int.from_bytes(packet[:2], "big")
            question = waiting.get(number)
            if question is None:
                continue
            domain, wire = question.domain, question.wire
            if not is_reply(packet, wire):
                question.is_odd = True
                continue
            del waiting[number]
            nothing = read_nothing(packet, _HEADER + len(wire)) if domain else None
            if nothing is not None:
                answers += 1
                trust = Trust.DNSSEC if self._choice.are_believed and packet[3] & _AD else Trust.UNSIGNED
                ready.append(NoRoute(domain, *nothing, (), trust))
                continue
            is_failure = packet[3] & _RCODE not in _RCODES_OF_ANSWERS
            if not domain:
                server.pace.probe_answered(monotonic(), is_failure=is_failure)
                continue
            failures += is_failure
            answers += not is_failure
            self._ordinary.add(domain)
        if answers or failures:
            server.pace.heard(answers, failures, monotonic())
            self._wake.set()

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_TICK, self._tick)
        now = monotonic()
        for server in self._servers:
            if server.pace.is_lost(now):
                self._abandon(server)  # before its questions run out of time too: that it is dead says more
            for port in server.ports:
                self._expire(server, port, now)
            if server.pace.wants_probe(now):
                self._probe(server, now)
        self._ordinary.wake(now)
        self._wake.set()

    def _expire(self, server: _Server, port: Port, now: float) -> None:
        late = [number for number, question in port.waiting.items() if question.deadline <= now]
        for number in late:
            question = port.waiting.pop(number)
            if question.domain:
                server.pace.lost(1)
                self._try_again(question)

    def _try_again(self, question: BulkQuestion) -> None:
        question.attempt += 1
        domain = question.domain
        if question.is_odd:
            self._ordinary.add(domain)
        elif question.attempt < _ATTEMPTS:
            self._again.append(question)
        else:
            words = "; ".join(f"{server.resolver}: no answer" for server in self._servers)
            reason = f"{SRV_PREFIX}{domain}: no valid answer within {self._settings.timeout:g} s; {words}"
            self._ready.append(CouldNotTell(domain, reason))

    def _abandon(self, server: _Server) -> None:
        """It is dead: its questions are for the others."""
        for port in server.ports:
            questions = [question for question in port.waiting.values() if question.domain]
            port.waiting.clear()
            server.pace.lost(len(questions))
            self._again.extend(questions)

    def _probe(self, server: _Server, now: float) -> None:
        try:
            server.look()
            server.ports.send([BulkQuestion("", _PROBE, now + self._settings.timeout)])
        except (OSError, OwnerError) as error:
            server.pace.fail(getattr(error, "strerror", None) or str(error))

    def _is_idle(self) -> bool:
        is_waiting = self._again or any(server.pace.under_way for server in self._servers)
        return not is_waiting and not self._ready and self._ordinary.is_idle

    def _add_ready(self, answer: Answer) -> None:
        self._ready.append(answer)
        self._wake.set()

    async def _close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for server in self._servers:
            server.ports.close()
        await self._ordinary.close()
