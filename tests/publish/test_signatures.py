"""Signatures made here, with keys made here."""

import dns.dnssec
import dns.name
import dns.rdata
import dns.rdataset
import dns.rrset
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from onionmx.publish.signatures import DS, SignatureVerdict, Signed, ZoneKeys, check_keys, judge
from tests.onions import make_onion

NOW = 1_800_000_000.0
DAY = 86400
ZONE = dns.name.from_text("zone.example")
RECORD = dns.rrset.from_text("_onion-mx._tcp.zone.example.", 300, "IN", "SRV", f"0 5 25 {make_onion(1)}.")
OTHER = dns.rrset.from_text("_onion-mx._tcp.zone.example.", 300, "IN", "SRV", f"0 5 25 {make_onion(2)}.")


class Keys:
    """A key of the zone and what it signs."""

    def __init__(self) -> None:
        self._private = ec.generate_private_key(ec.SECP256R1())
        self._key = dns.dnssec.make_dnskey(self._private.public_key(), "ECDSAP256SHA256", flags=257)
        self.set = dns.rrset.from_rdata(ZONE, 300, self._key)

    def sign(self, rrset: dns.rrset.RRset, *, first: float = NOW - DAY, last: float = NOW + DAY) -> dns.rrset.RRset:
        signature = dns.dnssec.sign(
            rrset, self._private, ZONE, self._key, inception=int(first), expiration=int(last), verify=False
        )
        return dns.rrset.from_rdata(rrset.name, 300, signature)

    @property
    def ds(self) -> DS:
        return dns.dnssec.make_ds(ZONE, self._key, "SHA256")

    def behind(self, verdict: SignatureVerdict, *ds: DS) -> ZoneKeys:
        return ZoneKeys(ZONE, self.set, check_keys(self.set, self.sign(self.set), ds, NOW), ds, verdict)


KEYS, STRANGERS = Keys(), Keys()


def judged(behind: ZoneKeys, signatures: dns.rrset.RRset | None) -> tuple[Signed, str]:
    return judge(behind, RECORD, signatures, NOW)


def test_a_chain_that_is_whole() -> None:
    assert judged(KEYS.behind(SignatureVerdict.VALIDATED, KEYS.ds), KEYS.sign(RECORD))[0] is Signed.VALID
    assert judge(KEYS.behind(SignatureVerdict.VALIDATED), None, None, NOW)[0] is Signed.VALID


def test_an_unsigned_zone() -> None:
    assert judged(ZoneKeys(ZONE), None)[0] is Signed.UNSIGNED


@pytest.mark.parametrize(
    ("behind", "signed", "why"),
    [
        (
            KEYS.behind(SignatureVerdict.NOT_VALIDATED),
            Signed.ISLAND,
            "has no DS record of its keys: give it to the registrar",
        ),
        (
            KEYS.behind(SignatureVerdict.NOT_VALIDATED, KEYS.ds),
            Signed.UNKNOWN,
            "no validating resolver that is believed",
        ),
        (KEYS.behind(SignatureVerdict.FAILED, KEYS.ds), Signed.BOGUS, "the resolver still refuses the zone"),
        (
            KEYS.behind(SignatureVerdict.FAILED, STRANGERS.ds),
            Signed.BOGUS,
            "none of the zone's keys fits the DS record",
        ),
        (ZoneKeys(ZONE, problem="no answer"), Signed.UNKNOWN, "no answer"),
        (
            ZoneKeys(ZONE, None, check_keys(None, None, [KEYS.ds], NOW), (KEYS.ds,)),
            Signed.BOGUS,
            "the zone above has a DS record, and the zone has no keys",
        ),
        (
            ZoneKeys(ZONE, KEYS.set, check_keys(KEYS.set, KEYS.sign(KEYS.set, last=NOW - DAY), [], NOW)),
            Signed.BOGUS,
            "the keys of the zone: the signature expired on 2027-01-14 08:00 UTC",
        ),
    ],
)
def test_chains_that_are_broken(behind: ZoneKeys, signed: Signed, why: str) -> None:
    assert judged(behind, KEYS.sign(RECORD))[0] is signed
    assert why in judged(behind, KEYS.sign(RECORD))[1]


@pytest.mark.parametrize(
    ("signatures", "why"),
    [
        (None, "no signature, in a zone that is signed"),
        (KEYS.sign(RECORD, last=NOW - DAY), "the signature expired on 2027-01-14 08:00 UTC"),
        (KEYS.sign(RECORD, first=NOW + DAY, last=NOW + 2 * DAY), "not valid before 2027-01-16 08:00 UTC: is the clock"),
        (KEYS.sign(OTHER), "the signature does not fit the record"),
        (STRANGERS.sign(RECORD), "the signature is by a key that the zone does not have"),
    ],
)
def test_signatures_that_are_wrong(signatures: dns.rrset.RRset | None, why: str) -> None:
    signed, words = judged(KEYS.behind(SignatureVerdict.VALIDATED, KEYS.ds), signatures)
    assert signed is Signed.BOGUS
    assert why in words
