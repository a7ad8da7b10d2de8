"""When mail may go over the open internet although its domain has an onion MX."""

from typing import Annotated

from msgspec import Meta

from onionmx.config.section import Section
from onionmx.defaults import CONFIGURATION_DIRECTORY, RELEASED_PATH


class FallbackSection(Section, frozen=True):
    """Mail over the open internet for domains whose onions have failed for long: never, unless rules say so."""

    rules: Annotated[
        str,
        Meta(
            min_length=1,
            description="File of `DOMAIN after 12h`, `* after 2d` and `DOMAIN never` lines (m, h, d). Where there is "
            "none, mail always waits for the onion.",
        ),
    ] = f"{CONFIGURATION_DIRECTORY}/fallback"
    released: Annotated[
        str,
        Meta(
            min_length=1,
            description="The CDB of the domains that are released now: the relay writes it, lookups and MTAs read it.",
        ),
    ] = RELEASED_PATH
    probe_interval: Annotated[
        float,
        Meta(
            ge=1,
            le=600,
            description="Seconds between two probes of the onions of a domain under a rule while they fail.",
        ),
    ] = 300.0
