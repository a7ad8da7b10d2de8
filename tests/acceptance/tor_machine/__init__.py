"""tor in a machine of its own, on a booted Debian host, with the Internet in another network namespace."""

from tests.acceptance.tor_machine.prove import prove

__all__ = ["prove"]
