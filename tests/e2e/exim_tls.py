"""An Exim that offers STARTTLS with a certificate that the test has made."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.net.certificates import Issued

from .exim import Exim


class EximWithTls(Exim):
    """A receiving Exim with a certificate.

    Args:
        folder: a new folder for everything of this Exim.
        hostname: its name.
        domains: for which it takes mail, beside its own name.
        issued: its certificate.
        chain: those of its issuers that it sends along.
        macros, parts: see `Exim`.
    """

    def __init__(  # noqa: PLR0913 -- what differs between tests
        self,
        folder: Path,
        hostname: str,
        domains: Iterable[str],
        issued: Issued,
        *chain: Issued,
        macros: Mapping[str, str] | None = None,
        parts: Mapping[str, str] | None = None,
    ) -> None:
        folder.mkdir()
        self._certificate, self._key = issued.write(folder, *chain)
        local_domains = {"MAIN_LOCAL_DOMAINS": " : ".join(["@", *domains])}
        super().__init__(folder, hostname, local_domains | dict(macros or {}), parts)

    def _unprivileged(self) -> str:
        tls = f"tls_advertise_hosts = *\ntls_certificate = {self._certificate}\ntls_privatekey = {self._key}\n"
        return super()._unprivileged().replace("tls_advertise_hosts =\n", tls)
