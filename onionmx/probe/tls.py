"""STARTTLS as findings: the version, the certificate, and whether an authority of this system vouches for it.

None of this decides whether mail is handed over: tor has proven the name of the onion and encrypts the way to it.
"""

import ssl
from collections.abc import Iterable
from datetime import UTC, datetime

from onionmx.net.certificate import Certificate, CertificateError, read_certificate
from onionmx.net.connect import OpenStream
from onionmx.net.tls import verifying_context
from onionmx.onion import Endpoint
from onionmx.probe.report import Observation, StepResult
from onionmx.smtp.client.dialog import Dialog, DialogError, open_dialog
from onionmx.smtp.printable import printable, printable_reply
from onionmx.smtp.reply import Reply

NO_AUTHORITY = "no authority of this system vouches for it"


def describe_handshake(reply: Reply, tls: ssl.SSLObject | None) -> Observation:
    """What came of STARTTLS.

    Args:
        reply: to STARTTLS.
        tls: which was started if the reply is 2xx.
    """
    if not reply.is_positive or tls is None:
        outcome = StepResult.COULD_NOT_TELL if reply.is_transient else StepResult.FAILED
        return Observation(outcome, printable_reply(reply), "look for the certificate and key in the MTA's log")
    version = tls.version()
    name, *_ = tls.cipher() or ("unknown cipher",)
    return Observation(StepResult.OK, f"{version}, {name}", detail={"version": version, "cipher": name})


def describe_certificate(der: bytes | None, wanted: Iterable[str]) -> tuple[Observation, Certificate | None]:
    """What the certificate says.

    Args:
        der: the certificate, `None` where the peer showed none.
        wanted: the names that the server might be known by.

    Returns:
        The finding, and the certificate if there is one that can be read.
    """
    if der is None:
        return Observation(StepResult.WARNING, "the peer shows no certificate"), None
    try:
        certificate = read_certificate(der)
    except CertificateError as error:
        return Observation(StepResult.WARNING, str(error), "give the MTA another certificate"), None
    return _describe(certificate, certificate.matching(wanted), datetime.now(UTC)), certificate


async def ask_for_chain(
    connect: OpenStream,
    endpoint: Endpoint,
    hello: str,
    timeout: float,  # noqa: ASYNC109 -- for each reply, not for the whole
) -> Observation:
    """Find out on a connection of its own whether an authority of this system vouches for the certificate.

    OpenSSL tells its verdict only by ending the handshake, so the first connection, which has the other questions to
    ask, cannot ask this one.

    Args:
        connect: how to reach the peer.
        hello: the name for EHLO.
        timeout: seconds for each reply.

    Raises:
        TemporaryError: it could not be found out.
    """
    context = verifying_context()
    context.check_hostname = False  # an onion MX has another name; the certificate's step says which names match
    try:
        async with open_dialog(connect, endpoint, hello, timeout) as dialog:
            reply = await dialog.start_tls(context)
    except DialogError as error:
        if not isinstance(error.__cause__, ssl.SSLCertVerificationError):
            raise
        reason = printable(error.__cause__.verify_message)
        return Observation(StepResult.OK, f"{NO_AUTHORITY}: {reason}", detail={"verified": False, "reason": reason})
    if not reply.is_positive:
        return Observation(StepResult.WARNING, f"could not tell: {printable_reply(reply)}")
    return Observation(StepResult.OK, "an authority of this system vouches for it", detail={"verified": True})


def peer_certificate(dialog: Dialog) -> bytes | None:
    """The certificate that the peer has shown, in DER."""
    return dialog.tls.getpeercert(binary_form=True) if dialog.tls else None


def _describe(certificate: Certificate, matching: tuple[str, ...], now: datetime) -> Observation:
    is_expired, is_early = certificate.has_expired(now), certificate.is_not_yet_valid(now)
    names = ", ".join(certificate.names) or f"no names, only the subject {certificate.subject}"
    remarks = [
        f"for {names}",
        f"matches {', '.join(matching)}" if matching else "matches neither the domain nor the names of the server",
        "self-signed" if certificate.is_self_signed else f"issued by {certificate.issuer}",
        f"valid from {certificate.not_before:%Y-%m-%d} to {certificate.not_after:%Y-%m-%d}",
        *(["expired"] if is_expired else []),
        *(["not valid yet"] if is_early else []),
    ]
    return Observation(
        StepResult.WARNING if is_expired or is_early else StepResult.OK,
        "; ".join(remarks),
        "renew the certificate" if is_expired else "compare the clocks" if is_early else "",
        {
            "names": certificate.names,
            "matching": matching,
            "subject": certificate.subject,
            "issuer": certificate.issuer,
            "not_before": certificate.not_before,
            "not_after": certificate.not_after,
            "expired": is_expired,
            "not_yet_valid": is_early,
            "self_signed": certificate.is_self_signed,
        },
    )
