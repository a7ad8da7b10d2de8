"""Messages of a self-test as an MX hands them to the echo."""

TOKEN = "abcdefghijklmnopqrstuvwx23"  # noqa: S105 -- of a message
SENDER = "alice@sender.example"
ECHO = "echo@receiver.example"
RECEIVED = (
    (
        "Received: from sender.example ([127.0.0.1]) by receiver.example with esmtps (TLS1.3) tls "
        "TLS_AES_256_GCM_SHA384 (Exim 4.96) id 1-2-3 for echo@receiver.example; Sun, 29 Nov 2026 07:00:02 +0000"
    ),
    "Received: from alice by sender.example with local (Exim 4.96) id 1-2-2; Sun, 29 Nov 2026 08:00:01 +0100",
)
RESULTS = "Authentication-Results: receiver.example; dkim=pass header.d=sender.example"


def request(*more: str, without: str = "", sender: str = SENDER) -> bytes:
    """A self-test with more fields on top, and without those of a name."""
    lines = [
        *more,
        RESULTS,
        *RECEIVED,
        f"From: Alice <{sender}>",
        f"To: {ECHO}",
        "Message-ID: <1@sender.example>",
        f"Onionmx-Selftest: {TOKEN}",
    ]
    kept = [line for line in lines if not (without and line.lower().startswith(f"{without.lower()}:"))]
    return ("\r\n".join(kept) + "\r\n\r\nHello\r\n").encode("utf-8", "surrogateescape")
