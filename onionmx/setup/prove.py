"""The proof at the end: the doctor, the record, and a look at the own onion from outside."""

import time
from dataclasses import dataclass, field
from typing import Any

import msgspec

from onionmx.errors import EXIT_FOUND, EXIT_TEMPORARY
from onionmx.setup.engine import Say
from onionmx.setup.plan import Plan
from onionmx.setup.system import System
from onionmx.tor.services import HOSTNAME

_OF_THE_RECORD = frozenset({"record", "signed-zone"})
"""Checks of what the administrator has yet to publish."""
_OF_RECEIVING = frozenset({"onion-service", "forward", "descriptor", "accepts-mail", "open-relay", "rights"})
_OF_SENDING = frozenset({"map", "map-age", "own-domains", "pins", "lookup-daemon", "relay"})
_OF_VIRTUAL_ADDRESSES = frozenset({"dnsport", "automap"})
_BETWEEN = 5.0  # seconds between two probes; a new service takes a while until others find it


@dataclass(slots=True)
class Proof:
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


def prove(system: System, program: tuple[str, ...], plan: Plan, seconds: float, say: Say) -> Proof:
    """Look at the result.

    Args:
        system: the machine.
        program: command that runs onionmx.
        plan: that was carried out.
        seconds: patience for the onion service to be found; 0 not to look at it from outside.
        say: for each step.
    """
    proof = Proof()
    if plan.wishes.receive:
        state = system.read(f"{plan.ports.directory}/{HOSTNAME}")
        proof.onion = state.text.strip() if state else ""
        if not proof.onion:
            proof.unknown.append(f"the onion is not known yet: {plan.ports.directory}/{HOSTNAME} is not there")
    if proof.onion:
        _probe(system, program, proof, seconds, say)
    _doctor(system, program, plan, proof, say)
    if proof.onion:
        _publish(system, program, plan, proof, say)
    return proof


def _doctor(system: System, program: tuple[str, ...], plan: Plan, proof: Proof, say: Say) -> None:
    say("run onionmx doctor")
    done = system.run((*program, "doctor", "--json"))
    try:
        findings: list[dict[str, Any]] = msgspec.json.decode(done.output)["findings"]
    except (msgspec.MsgspecError, KeyError, TypeError):
        proof.unknown.append(f"onionmx doctor ended with {done.code}: {done.said}")
        return
    wishes = plan.wishes
    left_out = _OF_THE_RECORD
    left_out |= frozenset() if wishes.receive else _OF_RECEIVING
    left_out |= frozenset() if wishes.send else _OF_SENDING
    left_out |= frozenset() if wishes.uses_virtual_addresses else _OF_VIRTUAL_ADDRESSES
    for finding in findings:
        if finding["check"] in left_out or finding["severity"] != "problem":
            continue
        advice = str(finding.get("fix") or finding.get("mend") or "").strip().replace("\n", "; ")
        proof.problems.append(f"{finding['check']}: {finding['seen']}" + (f" (fix: {advice})" if advice else ""))


def _probe(system: System, program: tuple[str, ...], proof: Proof, seconds: float, say: Say) -> None:
    if not seconds:
        return
    say(f"run onionmx probe {proof.onion}, for {seconds:g} s at most: a new service is found after a while")
    end = time.monotonic() + seconds
    while True:
        done = system.run((*program, "probe", proof.onion, "--json"))
        if done.code == EXIT_FOUND:
            return
        if done.code != EXIT_TEMPORARY or time.monotonic() + _BETWEEN >= end:
            break
        time.sleep(_BETWEEN)
    words = f"onionmx probe {proof.onion} ended with {done.code}: {_causes(done.output) or done.said}"
    (proof.unknown if done.code == EXIT_TEMPORARY else proof.problems).append(words)


def _causes(output: str) -> str:
    try:
        return "; ".join(msgspec.json.decode(output)["causes"])
    except (msgspec.MsgspecError, KeyError, TypeError):
        return ""


def _publish(system: System, program: tuple[str, ...], plan: Plan, proof: Proof, say: Say) -> None:
    words = (*program, "publish", *plan.wishes.domains, "--onion", proof.onion)
    printed = system.run((*words, "--format", "zone"))
    proof.records = [line for line in printed.output.splitlines() if " SRV " in line]
    if not plan.publishes or proof.problems or proof.unknown:
        return
    say("run onionmx publish")
    done = system.run(words)
    proof.published = done.code == EXIT_FOUND
    if not proof.published:
        told = f"onionmx publish ended with {done.code}: {done.said}"
        (proof.unknown if done.code == EXIT_TEMPORARY else proof.problems).append(told)
