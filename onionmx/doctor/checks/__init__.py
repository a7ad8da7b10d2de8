"""All checks, in the order of the output: tor, its ports, isolation, the service, DNS, routes, daemons, Exim, mail."""

from onionmx.doctor.checks import (
    circuits,
    credentials,
    daemons,
    exim_routers,
    isolation,
    mail,
    owners,
    ports,
    record,
    resolver,
    routes,
    service,
    tor_process,
)
from onionmx.doctor.runner import Check

CHECKS: tuple[Check, ...] = (
    tor_process.CHECK,
    *ports.CHECKS,
    owners.CHECK,
    isolation.CHECK,
    service.CHECK,
    circuits.CHECK,
    record.CHECK,
    resolver.CHECK,
    *routes.CHECKS,
    credentials.CHECK,
    *daemons.CHECKS,
    exim_routers.CHECK,
    mail.CHECK,
)
TOPICS = tuple(topic for check in CHECKS for topic in check.topics)
"""What can be asked for by name."""
ESSENTIAL = frozenset(topic.name for topic in TOPICS if topic.essential)
"""Without these nobody knows whether the machine is sound."""
