"""What Postfix is told of a domain with a route: the template of `serve.result`, filled in."""

from onionmx.smtp.reply import OurReply
from onionmx.target import Route
from onionmx.text import printable_ascii

_REFUSAL = f"error:{OurReply.NO_SUCH_ONION.value.enhanced} "


def refusal(reason: str) -> bytes:
    """The result by which Postfix refuses mail for good (error(8)): 550 at RCPT, or a bounce."""
    return (_REFUSAL + printable_ascii(reason)).encode("ascii")


class ResultTemplate:
    """A result with placeholders for `{domain}`, `{onion}` and `{port}` of the first target.

    Args:
        text: as the configuration has it, which has checked the placeholders.
    """

    __slots__ = ("_constant", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        first, second = (text.format(domain=mark, onion=mark, port=mark) for mark in "ab")
        self._constant = first.encode("ascii") if first == second else None

    def fill(self, route: Route) -> bytes:
        """The result for a route."""
        if self._constant is not None:
            return self._constant
        target = route.targets[0]
        return self._text.format(domain=route.domain, onion=target.onion, port=target.port).encode("ascii")
