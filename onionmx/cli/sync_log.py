"""What `onionmx sync` says as events of the log, where systemd runs it and `log.format` is not text."""

import logging

from onionmx.cli.sync_report import COUNTED, REPORTED, described, shown_endpoints
from onionmx.log import fields
from onionmx.sync.report import Decision, RunResult, Summary

_logger = logging.getLogger("onionmx.sync")


def log_summary(summary: Summary) -> None:
    """Log what a run did: an event for each domain that is reported, and one for the run."""
    for decision in summary.decisions:
        if decision.outcome in REPORTED:
            _log_decision(decision)
        for note in decision.notes:
            _logger.info("%s: %s", decision.domain, note, extra=fields("note", domain=decision.domain, reason=note))
    if summary.refusal:
        _logger.warning("%s", summary.refusal, extra=fields("removals_held", reason=summary.refusal))
    counts = {outcome.value: summary.count(outcome) for outcome in COUNTED}
    _logger.info(
        "%s",
        ", ".join(f"{number} {outcome}" for outcome, number in counts.items()),
        extra=fields("synchronized", entries=summary.entries, waiting=summary.waiting, **counts),
    )


def _log_decision(decision: Decision) -> None:
    level = logging.WARNING if decision.outcome in {RunResult.UNDECIDED, RunResult.WAITING} else logging.INFO
    words = described(decision)
    extra = fields(
        decision.outcome.value,
        domain=decision.domain,
        old=shown_endpoints(decision.old),
        new=shown_endpoints(decision.new),
        reason=words,
    )
    _logger.log(level, "%s %s: %s", decision.outcome, decision.domain, words, extra=extra)
