"""Watching the onion service of this host, and renewing it."""

from typing import Annotated

from msgspec import Meta

from onionmx.config.section import Section

_WEEK = 604800


class WatchSection(Section, frozen=True):
    """`onionmx watch`: how often this host's onion service is probed, and when it is renewed."""

    interval: Annotated[
        float, Meta(gt=0, le=86400, description="Seconds from one probe of the onion service to the next.")
    ] = 300.0
    timeout: Annotated[
        float, Meta(gt=0, le=600, description="Seconds for the connection of a probe; a late one is a failure.")
    ] = 45.0
    failing_for: Annotated[
        float,
        Meta(gt=0, le=_WEEK, description="Seconds for which all probes must have failed before it is renewed."),
    ] = 600.0
    publish_pause: Annotated[
        float,
        Meta(
            ge=0,
            le=_WEEK,
            description="Seconds since its last descriptor was published, before it is renewed; where that is not "
            "known, since the start of the watch.",
        ),
    ] = 900.0
    renewal_pause: Annotated[float, Meta(ge=0, le=_WEEK, description="Seconds from one renewal to the next.")] = 900.0
    circuits_delay: Annotated[
        float,
        Meta(ge=0, le=86400, description="Seconds for which clients that are connected put a renewal off."),
    ] = 300.0
    drop_guards: Annotated[
        bool,
        Meta(
            description="After a renewal, have tor choose other guards, at most once a day. Anyone who can make the "
            "onion fail could then have a say in which guards tor uses."
        ),
    ] = False
    metrics_file: Annotated[
        str, Meta(description="File for node_exporter's textfile collector, its name ending in .prom; empty for none.")
    ] = ""
