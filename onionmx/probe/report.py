"""What a probe has found: steps of targets, with timings; no I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from onionmx.answer import Answer, Found, NoRoute
from onionmx.errors import EXIT_FOUND, EXIT_NO_ROUTE, EXIT_TEMPORARY
from onionmx.onion import format_endpoint
from onionmx.target import Target


class StepResult(StrEnum):
    """How a step went."""

    OK = "ok"
    WARNING = "warning"
    """Mail is not hindered by it, but somebody should look."""
    FAILED = "failed"
    """The peer plainly does or says what is wrong; asking again would give the same."""
    COULD_NOT_TELL = "could not tell"
    """Not reached, no answer, or refused for now."""
    NOT_REACHED = "not reached"
    """A step before it failed."""

    @property
    def exit_code(self) -> int:
        """The exit code that a step with this outcome leads to."""
        return {StepResult.FAILED: EXIT_NO_ROUTE, StepResult.COULD_NOT_TELL: EXIT_TEMPORARY}.get(self, EXIT_FOUND)

    @property
    def is_good(self) -> bool:
        """Whether the next step makes sense."""
        return self in {StepResult.OK, StepResult.WARNING}


Detail = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Observation:
    """What one step has brought.

    Attributes:
        outcome: how it went.
        words: for an operator, on one line and printable.
        advice: what to do about it, where something is to be done and is known.
        detail: the same for programs; all text in it is printable.
    """

    outcome: StepResult
    words: str
    advice: str = ""
    detail: Detail = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProbeStep:
    """A step that was taken, or would have been.

    Attributes:
        name: of the step.
        seconds: how long it took; `None` where nothing was asked.
        finding: what it has brought.
    """

    name: str
    seconds: float | None
    finding: Observation


@dataclass(frozen=True, slots=True)
class TargetReport:
    """What was found at one target.

    Attributes:
        target: which.
        steps: in order.
    """

    target: Target
    steps: tuple[ProbeStep, ...]

    @property
    def failure(self) -> ProbeStep | None:
        """The first step that went wrong, `None` if mail could be handed over here."""
        return next((step for step in self.steps if not step.finding.outcome.is_good), None)

    @property
    def exit_code(self) -> int:
        """0 good, 1 something is wrong, 75 could not tell."""
        return self.failure.finding.outcome.exit_code if self.failure else EXIT_FOUND


@dataclass(frozen=True, slots=True)
class Report:
    """What a probe has found.

    Attributes:
        subject: the domain, or the onion with its port.
        seconds: for all of it.
        route_seconds: for finding the route.
        answer: where mail goes.
        targets: those of the route, in its order; empty where there is none.
    """

    subject: str
    seconds: float
    route_seconds: float
    answer: Answer
    targets: tuple[TargetReport, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 all targets are good; 75 one could not be looked at, or the route is unknown; else 1."""
        match self.answer:
            case Found():
                return max(target.exit_code for target in self.targets)
            case NoRoute():
                return EXIT_NO_ROUTE
            case _:
                return EXIT_TEMPORARY

    @property
    def causes(self) -> tuple[str, ...]:
        """One line for each thing that is wrong."""
        if not isinstance(self.answer, Found):
            return (f"route: {self.answer.reason}",)
        return tuple(
            f"{format_endpoint(one.target.endpoint)}: {one.failure.name}: {one.failure.finding.words}"
            for one in self.targets
            if one.failure
        )
