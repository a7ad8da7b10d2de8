"""The proof at the end: the doctor, the record, and a look at this host's onion from outside."""

import time
from dataclasses import dataclass, field
from typing import Any

import msgspec

from onionmx.errors import EXIT_FOUND, EXIT_TEMPORARY
from onionmx.setup.engine import Say
from onionmx.setup.plan import Plan
from onionmx.setup.programs.wishes import SetupOptions
from onionmx.setup.system import Done, System
from onionmx.tor.service.running import HOSTNAME

_OF_THE_RECORD = frozenset({"record", "signed-zone"})
"""Checks of what the administrator has yet to publish."""
_OF_RECEIVING = frozenset({"onion-service", "forward", "descriptor", "accepts-mail", "open-relay", "rights"})
_OF_SENDING = frozenset({"map", "map-age", "local-domains", "pins", "lookup-daemon", "relay"})
_OF_VIRTUAL_ADDRESSES = frozenset({"dnsport", "automap"})
_WITH_TIME = frozenset({"tor", "descriptor"})
"""Checks of what comes with time: a tor that has just started, a service that is just being published."""
_BETWEEN = 5.0  # seconds between two looks; a new service takes a while until others find it


@dataclass(slots=True)
class SetupProof:
    """What was seen.

    Attributes:
        onion: of the service; empty for none.
        records: to publish, as zone text.
        published: whether the record was sent.
        problems: that somebody has to fix.
        unknown: what could not be told.
    """

    onion: str = ""
    records: list[str] = field(default_factory=list)
    published: bool = False
    problems: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


@dataclass(slots=True)
class SetupProver:
    """Looks at the result.

    Args:
        program: command that runs onionmx.
        plan: that was carried out.
        say: for each step.
    """

    system: System
    program: tuple[str, ...]
    plan: Plan
    say: Say
    proof: SetupProof = field(default_factory=SetupProof, init=False)

    def prove(self, seconds: float) -> SetupProof:
        """Look at all of it.

        Args:
            seconds: patience for tor, and for the onion service to be found; 0 not to look at it from outside.
        """
        end = time.monotonic() + seconds
        if self.plan.wishes.receive:
            state = self.system.read(f"{self.plan.ports.directory}/{HOSTNAME}")
            self.proof.onion = state.text.strip() if state else ""
            if not self.proof.onion:
                self.proof.unknown.append(
                    f"the onion is not known: {self.plan.ports.directory}/{HOSTNAME} is not there"
                )
        if self.proof.onion and seconds:
            self._probe(end)
        self._doctor(end)
        if self.proof.onion:
            self._publish()
        return self.proof

    def _probe(self, end: float) -> None:
        onion = self.proof.onion
        self.say(f"run onionmx probe {onion}, until it answers: a new service is found after a while")
        while True:
            done = self._run("probe", onion, "--json")
            if done.code == EXIT_FOUND:
                return
            if done.code != EXIT_TEMPORARY or not _again(end):
                break
        self._judge(done, f"onionmx probe {onion}")

    def _doctor(self, end: float) -> None:
        self.say("run onionmx doctor")
        left_out = _left_out(self.plan.wishes)
        while True:
            done = self._run("doctor", "--json")
            try:
                findings: list[dict[str, Any]] = msgspec.json.decode(done.output)["findings"]
            except (msgspec.MsgspecError, KeyError, TypeError):
                self.proof.unknown.append(f"onionmx doctor ended with {done.code}: {done.said}")
                return
            problems = [one for one in findings if one["severity"] == "problem" and one["check"] not in left_out]
            if not any(one["check"] in _WITH_TIME for one in problems) or not _again(end):
                break
        for finding in problems:
            advice = str(finding.get("fix") or "").strip().replace("\n", "; ")
            self.proof.problems.append(
                f"{finding['check']}: {finding['seen']}" + (f" (fix: {advice})" if advice else "")
            )

    def _publish(self) -> None:
        words = ("publish", *self.plan.wishes.domains, "--onion", self.proof.onion)
        printed = self._run(*words, "--format", "zone")
        self.proof.records = [line for line in printed.output.splitlines() if " SRV " in line]
        if not self.plan.publishes or self.proof.problems or self.proof.unknown:
            return
        self.say("run onionmx publish")
        done = self._run(*words)
        self.proof.published = done.code == EXIT_FOUND
        if not self.proof.published:
            self._judge(done, "onionmx publish")

    def _judge(self, done: Done, what: str) -> None:
        words = f"{what} ended with {done.code}: {_causes(done.output) or done.said}"
        (self.proof.unknown if done.code == EXIT_TEMPORARY else self.proof.problems).append(words)

    def _run(self, *words: str) -> Done:
        return self.system.run((*self.program, *words))


def _again(end: float) -> bool:
    """Wait for the next look, if there is time for one."""
    if time.monotonic() + _BETWEEN >= end:
        return False
    time.sleep(_BETWEEN)
    return True


def _left_out(wishes: SetupOptions) -> frozenset[str]:
    """Checks of what is not wished, and of the record, which is not yet published."""
    left_out = _OF_THE_RECORD
    left_out |= frozenset() if wishes.receive else _OF_RECEIVING
    left_out |= frozenset() if wishes.send else _OF_SENDING
    return left_out | (frozenset() if wishes.uses_virtual_addresses else _OF_VIRTUAL_ADDRESSES)


def _causes(output: str) -> str:
    try:
        return "; ".join(msgspec.json.decode(output)["causes"])
    except (msgspec.MsgspecError, KeyError, TypeError):
        return ""
