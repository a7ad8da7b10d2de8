"""Paths of MAIL and RCPT (RFC 5321 section 4.1.2).

    Path   = "<" [ A-d-l ":" ] Mailbox ">"
    A-d-l  = At-domain *( "," At-domain )

Only where a path ends is found here: what a mailbox may be is a matter of `onionmx.smtp.envelope`, which writes it.
"""

from __future__ import annotations

import re

_ROUTE = r'@(?:\[[^\]<>" ]*\]|[^:\[<>" ])+:'
_MAILBOX = r'(?:"(?:[^"\\]|\\.)*")?[^<>" ]*'
_PATH = re.compile(rf"[ ]?<(?:{_ROUTE})?(?P<mailbox>{_MAILBOX})>(?:[ ]+(?P<parameters>.*))?", re.DOTALL)


def parse_path(text: str) -> tuple[str, str] | None:
    """Read what follows `FROM:` or `TO:`.

    A source route is accepted and left out, as RFC 5321 section 3.3 and appendix C ask. One space before the path is
    tolerated: clients that send it are older than the rule against it.

    Args:
        text: the path and, after a space, the parameters.

    Returns:
        The mailbox, possibly empty, and the parameters; `None` if there is no path.
    """
    match = _PATH.fullmatch(text)
    return match and (match["mailbox"], match["parameters"] or "")
