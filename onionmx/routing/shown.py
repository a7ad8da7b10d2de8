"""An answer for programs: what `onionmx lookup --json`, `/routes/DOMAIN` and `onionmx cache dump --json` show."""

from typing import Any

from onionmx.answer import Answer, CouldNotTell, Found, NoRoute


def shown_answer(answer: Answer) -> dict[str, Any]:
    """An answer as a value that JSON can hold."""
    match answer:
        case Found(route, notes):
            return {
                "domain": route.domain,
                "answer": "found",
                "source": route.source,
                "trust": route.trust,
                "ttl": route.ttl,
                "stale": route.stale,
                "targets": route.targets,
                "notes": notes,
            }
        case NoRoute(domain, reason, ttl, notes):
            return {"domain": domain, "answer": "no route", "reason": reason, "ttl": ttl, "notes": notes}
        case CouldNotTell(domain, reason):
            return {"domain": domain, "answer": "could not tell", "reason": reason}
