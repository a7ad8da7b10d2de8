"""The certificate authorities that vouch for policy hosts and onion MXes."""

import ssl

from onionmx.authenticate.demand.requirement import Demand, Kind
from onionmx.net.tls import unverified_context, verifying_context


class Authorities:
    """The certificate authorities that are trusted.

    Args:
        ca_file: those to trust, in PEM; empty for those of the system.

    Attributes:
        https: for a host whose name must be in its certificate.

    Raises:
        ConfigurationError: the file of authorities cannot be used.
    """

    def __init__(self, ca_file: str = "") -> None:
        self.https = verifying_context(ca_file, "authenticate.ca_file")
        self.https.hostname_checks_common_name = False
        self._chain = verifying_context(ca_file, "authenticate.ca_file")
        self._chain.check_hostname = False  # any of several names will do, and `examine` compares them
        self._unverified = unverified_context()

    def context_for(self, demand: Demand) -> ssl.SSLContext:
        """For an onion MX with this demand; `examine` has the last word."""
        return self._unverified if demand.kind is Kind.DANE else self._chain
