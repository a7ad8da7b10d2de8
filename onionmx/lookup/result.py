"""What Postfix is told of a domain with a route: the template of `serve.result`, filled in."""

from onionmx.target import Route


class ResultTemplate:
    """A result with placeholders for `{domain}`, `{onion}` and `{port}` of the first target.

    Args:
        text: as the configuration has it, which has checked the placeholders.

    Attributes:
        constant: the result for every route, where no placeholder stands in the template.
    """

    __slots__ = ("_text", "constant")

    def __init__(self, text: str) -> None:
        self._text = text
        first, second = (text.format(domain=mark, onion=mark, port=mark) for mark in "ab")
        self.constant = first.encode("ascii") if first == second else None

    def fill(self, route: Route) -> bytes:
        """The result for a route."""
        if self.constant is not None:
            return self.constant
        target = route.targets[0]
        return self._text.format(domain=route.domain, onion=target.onion, port=target.port).encode("ascii")
