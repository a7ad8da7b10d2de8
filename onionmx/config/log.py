"""The log of the daemons."""

from typing import Annotated, Literal

from msgspec import Meta

from onionmx.config.section import Section


class LogSection(Section, frozen=True):
    """The log of the daemons and of sync, one event a line."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="What is less important is not logged.")
    ] = "info"
    format: Annotated[
        Literal["text", "json", "journald"],
        Meta(
            description="text or json to standard error, a line for each event; or journald, which gets the fields of "
            "an event by its own protocol (journalctl ONIONMX_DOMAIN=example.org). See docs/monitoring.md."
        ),
    ] = "text"
