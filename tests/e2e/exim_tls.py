"""An Exim that offers STARTTLS with a certificate that the test has made."""

from collections.abc import Iterable
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
    """

    def __init__(self, folder: Path, hostname: str, domains: Iterable[str], issued: Issued, *chain: Issued) -> None:
        folder.mkdir()
        self._certificate, self._key = issued.write(folder, *chain)
        macros = {"MAIN_LOCAL_DOMAINS": " : ".join(["@", *domains])}
        super().__init__(folder, hostname, macros)

    def _unprivileged(self) -> str:
        tls = f"tls_advertise_hosts = *\ntls_certificate = {self._certificate}\ntls_privatekey = {self._key}\n"
        return super()._unprivileged().replace("tls_advertise_hosts =\n", tls)
