"""Questions for onion-MX records of very many domains, over few UDP ports.

ask_many                   this file
└── Engine                 engine.py: what goes where, and the only part with a clock
    ├── read_nothing       nothing.py: the reply "there is none"; no I/O
    ├── Pace               pace.py: how many questions a resolver may be asked, and whether it is dead; no I/O
    ├── Ports              ports.py: sockets and ids
    └── OrdinaryQueue      ordinary.py: everything else, left to the ordinary resolver
"""

from collections.abc import AsyncGenerator, Iterable

from onionmx.answer import Answer, Ask
from onionmx.config import DnsSection
from onionmx.dns.bulk.engine import Engine
from onionmx.dns.bulk.pace import Limits
from onionmx.dns.choice import choose

__all__ = ["ask_many"]


def ask_many(domains: Iterable[str], settings: DnsSection, ordinary: Ask) -> AsyncGenerator[Answer, None]:
    """Find the onion MXes of very many domains.

    Most have none, and are answered from one UDP packet. A reply that says anything else, or says it in an unusual way,
    only makes the ordinary resolver ask for that domain: a forged one must be forged twice.

    Where the resolvers are asked over TLS or through Tor, the ordinary resolver is asked for all domains.

    Args:
        domains: in normal form; they are taken as they are needed, so that a million needs no room.
        settings: resolvers, timeouts, retries and limits. The timeout is for all attempts of one question; a resolver
            that is silent for so long is dead, and when all are, what is left is answered with `CouldNotTell` at once.
        ordinary: the ordinary resolver, `SrvResolver.ask`; asked `settings.concurrency` times at once, and
            `settings.retries` times again where it could not tell.

    Returns:
        One answer for each domain, in the order in which they come. Close the iterator (`contextlib.aclosing`) when it
        is left before its end.

    Raises:
        ConfigurationError: no resolver is configured, here or in /etc/resolv.conf.
    """
    choice = choose(settings)
    is_plain = not (settings.through_tor or any(resolver.tls_name for resolver in choice.resolvers))
    limits = {
        resolver: Limits(settings.bulk_concurrency, 0 if resolver.is_loopback else settings.bulk_rate, settings.timeout)
        for resolver in choice.resolvers
        if is_plain
    }
    return Engine(settings, ordinary, limits, choice).answers(domains)
