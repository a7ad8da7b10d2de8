"""Whether a browser sends a request for another web page than ours. No page of others may make it ask."""

from collections.abc import Iterable
from urllib.parse import urlsplit

_OWN = frozenset({"same-origin", "none"})
"""From a page of ours, or from the user, who has typed the address or follows a bookmark."""

Headers = Iterable[tuple[bytes, bytes]]
"""Names in lower case, and values."""


def is_from_another_site(headers: Headers) -> bool:
    """Whether a web page of others has the browser ask: by `Sec-Fetch-Site` (W3C Fetch Metadata), and by `Origin`.

    Programs that are no browsers send neither. A browser that does not know the first sends the second with all that is
    no plain visit (RFC 6454 section 7); it has to name the host that was asked.
    """
    found = [(name, value.decode("latin-1").strip().lower()) for name, value in headers]
    hosts = {value for name, value in found if name == b"host"}
    return any(
        (name == b"sec-fetch-site" and value not in _OWN) or (name == b"origin" and _host_of(value) not in hosts)
        for name, value in found
    )


def _host_of(origin: str) -> str | None:
    """Host and port of an origin; `None` for `null`, and for what is none."""
    try:
        return urlsplit(origin).netloc or None
    except ValueError:
        return None
