"""Proofs of onion MXes."""

from typing import Annotated, Literal

from msgspec import Meta

from onionmx.config.address import parse_server
from onionmx.config.section import Section


class AuthenticateSection(Section, frozen=True):
    """Proofs of onion MXes whose record is not signed: STARTTLS with a certificate that the domain's policy accepts."""

    mode: Annotated[
        Literal["off", "when-required", "always"],
        Meta(
            description="When an onion of an unsigned record has to prove itself: off for never, which undercuts the "
            "domain's policy; when-required for domains with MTA-STS in mode enforce (RFC 8461) or DANE (RFC 7672); "
            "always for every domain, by a certificate for its own name where it has no policy."
        ),
    ] = "when-required"
    fetch: Annotated[
        Literal["tor", "direct"],
        Meta(
            description="How MTA-STS policies are fetched: through Tor, whose exit resolves the name of the policy "
            "host, or directly, which shows the domain to anyone who watches this host; no address of this host or of "
            "a private network is connected to then."
        ),
    ] = "tor"
    socks: Annotated[
        str,
        Meta(
            description="Tor's SocksPort for policies as IP:PORT, NAME:PORT or unix:/path, without OnionTrafficOnly: "
            "policy hosts are no onions; empty for tor.socks."
        ),
    ] = ""
    ca_file: Annotated[
        str,
        Meta(
            description="File with the CAs for policy hosts and for onion MXes, in PEM; empty for those of the system."
        ),
    ] = ""
    timeout: Annotated[
        float, Meta(gt=0, le=600, description="Seconds for one policy, and for each reply of an onion MX.")
    ] = 60.0
    concurrency: Annotated[
        int, Meta(ge=1, le=1000, description="Policies and proofs that are under way at the same time.")
    ] = 20

    def __post_init__(self) -> None:
        """Refuse what is not the address of a port."""
        if self.socks:
            parse_server(self.socks)
