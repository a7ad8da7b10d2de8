"""A probe of one onion MX: good ones, and faults at each step."""

from datetime import timedelta
from pathlib import Path

import pytest

from onionmx.probe.report import ProbeStep, StepResult, TargetReport
from onionmx.smtp.faults import EnvelopeError
from onionmx.tor.socks import Cause
from tests.mapfile.maps import A
from tests.net.certificates import MONTH, NOW, Issued, issue
from tests.probe.mx import OFFERING_TLS, SHORT, Mx, ask_for, outcomes, probed, step
from tests.relay.peer import Fault, hang, reset, saying

OK, WARNING, FAILED = StepResult.OK, StepResult.WARNING, StepResult.FAILED
COULD_NOT_TELL, NOT_REACHED = StepResult.COULD_NOT_TELL, StepResult.NOT_REACHED
ADDRESS = "user@example.org"


def names(report: TargetReport) -> list[str]:
    return [step.name for step in report.steps]


def test_every_step_in_order() -> None:
    mx = Mx()
    report = probed(mx, ask_for(ADDRESS, sender="probe@example.net"))
    assert names(report) == ["connect", "greeting", "EHLO", "STARTTLS", "MAIL", "RCPT", "RSET", "QUIT"]
    assert set(outcomes(report).values()) == {OK}
    assert report.exit_code == 0
    assert report.failure is None
    assert mx.targets == [(A, 25)]
    assert mx.commands == [
        "EHLO client.example",
        "MAIL FROM:<probe@example.net>",
        f"RCPT TO:<{ADDRESS}>",
        "RSET",
        "QUIT",
    ]
    assert mx.messages == []
    hello = step(report, "EHLO").finding
    assert hello.words.startswith("mx.example: PIPELINING, CHUNKING, SIZE 0,")
    assert hello.detail["extensions"]["SIZE"] == "0"
    assert all(step.seconds is not None and step.seconds >= 0 for step in report.steps if step.name != "STARTTLS")


def test_the_empty_sender_is_the_default() -> None:
    mx = Mx()
    probed(mx, ask_for(ADDRESS))
    assert "MAIL FROM:<>" in mx.commands


def test_without_an_address_nothing_of_a_message_is_asked() -> None:
    mx = Mx()
    report = probed(mx, ask_for())
    assert names(report) == ["connect", "greeting", "EHLO", "STARTTLS", "QUIT"]
    assert mx.commands == ["EHLO client.example", "QUIT"]


@pytest.mark.parametrize(
    ("code", "outcome", "exit_code"),
    [(550, FAILED, 1), (450, COULD_NOT_TELL, 75), (354, FAILED, 1), (251, OK, 0)],
)
def test_an_address_by_its_reply(code: int, outcome: StepResult, exit_code: int) -> None:
    mx = Mx(replies={"RCPT": f"{code}-5.1.1 <user>\r\n{code} so it is\r\n"})
    report = probed(mx, ask_for(ADDRESS))
    assert outcomes(report)["RCPT"] is outcome
    assert step(report, "RCPT").finding.detail["code"] == code
    assert report.exit_code == exit_code
    # Whatever is said to the address, the server is left as it was found.
    assert mx.commands[-2:] == ["RSET", "QUIT"]


def test_a_sender_that_is_refused() -> None:
    mx = Mx(replies={"MAIL": "553 5.1.8 no\r\n"})
    report = probed(mx, ask_for(ADDRESS))
    assert outcomes(report)["MAIL"] is FAILED
    assert outcomes(report)["RCPT"] is NOT_REACHED
    assert mx.commands == ["EHLO client.example", "MAIL FROM:<>", "QUIT"]
    assert report.exit_code == 1


def test_an_address_that_the_server_cannot_take() -> None:
    mx = Mx(replies={"EHLO": "250 mx.example\r\n"})
    report = probed(mx, ask_for("ü@example.org"))
    assert outcomes(report)["MAIL"] is FAILED
    assert "internationalized" in step(report, "MAIL").finding.words
    assert mx.commands == ["EHLO client.example", "QUIT"]


@pytest.mark.parametrize("address", ["example.org", "a b@example.org", "@x:a@example.org", "a@example.org>\r\nDATA"])
def test_addresses_that_cannot_be_said(address: str) -> None:
    with pytest.raises(EnvelopeError):
        ask_for(address)
    with pytest.raises(EnvelopeError):
        ask_for(sender=address)


VERBS = {"greeting": "greeting", "EHLO": "EHLO", "MAIL": "MAIL", "RCPT": "RCPT", "RSET": "RSET"}


@pytest.mark.parametrize("name", VERBS)
@pytest.mark.parametrize(
    ("fault", "outcome", "words"),
    [
        (reset, COULD_NOT_TELL, "connection"),
        (hang, COULD_NOT_TELL, "no reply within"),
        (saying("421 4.3.2 shutting down\r\n"), COULD_NOT_TELL, "421 4.3.2 shutting down"),
        (saying("HTTP/1.1 400 Bad Request\r\n"), FAILED, "not an SMTP reply"),
        (saying("2" * 1_000_000), FAILED, "not an SMTP reply|more than 2048 bytes"),
    ],
    ids=["reset", "hang", "421", "garbage", "long"],
)
def test_faults_at_each_step(name: str, fault: Fault, outcome: StepResult, words: str) -> None:
    mx = Mx(faults={name: fault})
    patience = SHORT if fault is hang else 20
    report = probed(mx, ask_for(ADDRESS, patience=patience))
    failure = report.failure
    assert failure
    assert (failure.name, failure.finding.outcome) == (name, outcome)
    assert any(word in failure.finding.words for word in words.split("|"))
    assert report.exit_code == (1 if outcome is FAILED else 75)
    behind = names(report)[names(report).index(name) + 1 :]
    assert {outcomes(report)[later] for later in behind} <= {NOT_REACHED}
    assert {"connect", "greeting", "EHLO", "MAIL", "RCPT"} <= set(names(report))


def test_goodbye_does_not_matter() -> None:
    report = probed(Mx(faults={"QUIT": reset}), ask_for(ADDRESS))
    assert outcomes(report)["QUIT"] is WARNING
    assert report.exit_code == 0


def test_what_the_peer_says_is_made_printable() -> None:
    text = "\x1b]0;evil\x07 \u202eright to left\u200b"
    replies = {"greeting": f"220 {text}\r\n", "EHLO": f"250-{text}\r\n250 {text}\r\n", "RCPT": f"550 {text}\r\n"}
    report = probed(Mx(replies=replies), ask_for(ADDRESS))
    for one in report.steps:
        assert one.finding.words.isprintable()
        assert "evil" not in one.name
        assert repr(dict(one.finding.detail)).isprintable()
        assert all(str(value).isprintable() for value in one.finding.detail.values())


# What tor says.


@pytest.mark.parametrize("cause", [cause for cause in Cause if cause.reply is not None], ids=lambda cause: cause.name)
def test_causes_of_tor_in_words_and_with_advice(cause: Cause) -> None:
    report = probed(Mx(socks=cause.reply or 0), ask_for(ADDRESS))
    finding = step(report, "connect").finding
    assert (finding.words, finding.advice) == (cause.words, cause.advice)
    assert finding.outcome is (FAILED if cause is Cause.BAD_ADDRESS else COULD_NOT_TELL)
    assert finding.detail == {"cause": cause.name, "reply": cause.reply}
    assert names(report) == ["connect", "greeting", "EHLO", "MAIL", "RCPT"]
    assert {outcomes(report)[name] for name in names(report)[1:]} == {NOT_REACHED}


def test_every_cause_has_an_advice_of_its_own_kind() -> None:
    for cause in Cause:
        assert cause.advice
        assert cause.advice.isprintable()
        assert cause.advice != cause.words


# STARTTLS.


def tls_report(issued: Issued, folder: Path, *, require_tls: bool = True) -> TargetReport:
    replies = {"EHLO": OFFERING_TLS, "STARTTLS": "220 go\r\n"}
    mx = Mx(replies=replies, context=issued.context(folder))
    report = probed(mx, ask_for(ADDRESS, require_tls=require_tls))
    assert report.exit_code == 0
    assert [step.name for step in report.steps if step.name not in {"authority", "certificate"}] == [
        *("connect", "greeting", "EHLO", "STARTTLS", "EHLO in TLS", "MAIL", "RCPT", "RSET", "QUIT"),
    ]
    assert mx.commands.index("STARTTLS") < mx.commands.index("MAIL FROM:<>")
    return report


def certificate_of(report: TargetReport) -> ProbeStep:
    return step(report, "certificate")


def test_self_signed(tmp_path: Path) -> None:
    report = tls_report(issue("mx.example", "other.example"), tmp_path, require_tls=False)
    assert step(report, "STARTTLS").finding.detail["version"] == "TLSv1.3"
    finding = certificate_of(report).finding
    assert finding.outcome is OK
    assert finding.words.startswith("for mx.example, other.example; matches mx.example; self-signed; valid from ")
    assert finding.detail["names"] == ("mx.example", "other.example")
    assert finding.detail["self_signed"] is True
    assert "authority" not in names(report)


def test_expired(tmp_path: Path) -> None:
    report = tls_report(issue("mx.example", end=NOW - timedelta(days=1)), tmp_path)
    finding = certificate_of(report).finding
    assert finding.outcome is WARNING
    assert finding.words.endswith("; expired")
    assert finding.advice == "renew the certificate"
    assert finding.detail["expired"] is True


def test_not_valid_yet(tmp_path: Path) -> None:
    finding = certificate_of(tls_report(issue("mx.example", start=NOW + MONTH / 2), tmp_path)).finding
    assert (finding.outcome, finding.detail["not_yet_valid"]) == (WARNING, True)


def test_wrong_name(tmp_path: Path) -> None:
    finding = certificate_of(tls_report(issue("elsewhere.example"), tmp_path)).finding
    assert finding.outcome is OK
    assert "matches neither the domain nor the names of the server" in finding.words
    assert finding.detail["matching"] == ()


def test_the_onion_as_a_name(tmp_path: Path) -> None:
    finding = certificate_of(tls_report(issue(A, "*.example"), tmp_path)).finding
    assert finding.detail["matching"] == (A, "mx.example")


def test_signed_by_an_authority_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = issue(is_ca=True)
    (tmp_path / "authorities.pem").write_bytes(authority.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authorities.pem"))
    report = tls_report(issue("mx.example", ca=authority), tmp_path)
    assert "issued by CN=Test CA" in certificate_of(report).finding.words
    assert step(report, "authority").finding.detail == {"verified": True}


def test_signed_by_an_unknown_authority(tmp_path: Path) -> None:
    report = tls_report(issue("mx.example", ca=issue(is_ca=True)), tmp_path)
    finding = step(report, "authority").finding
    assert finding.outcome is OK
    assert finding.detail["verified"] is False
    assert "unable to get local issuer certificate" in finding.words


def test_tls_that_must_be_there() -> None:
    mx = Mx()
    report = probed(mx, ask_for(ADDRESS, require_tls=True))
    assert outcomes(report)["STARTTLS"] is FAILED
    assert outcomes(report)["RCPT"] is NOT_REACHED
    assert report.exit_code == 1
    assert mx.commands == ["EHLO client.example", "QUIT"]


def test_tls_that_is_refused_is_noted_and_the_rest_is_asked() -> None:
    mx = Mx(replies={"EHLO": OFFERING_TLS, "STARTTLS": "454 4.7.0 not now\r\n"})
    report = probed(mx, ask_for(ADDRESS))
    assert outcomes(report)["STARTTLS"] is COULD_NOT_TELL
    assert outcomes(report)["RCPT"] is OK
    assert report.exit_code == 75


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [(saying("220 go\r\n220 on\r\n"), FAILED), (saying("220 go\r\n"), COULD_NOT_TELL), (reset, COULD_NOT_TELL)],
    ids=["in the clear", "no handshake", "reset"],
)
def test_tls_that_fails(fault: Fault, outcome: StepResult) -> None:
    mx = Mx(replies={"EHLO": OFFERING_TLS}, faults={"STARTTLS": fault})
    report = probed(mx, ask_for(ADDRESS, patience=SHORT))
    assert outcomes(report)["STARTTLS"] is outcome
    assert outcomes(report)["RCPT"] is NOT_REACHED
