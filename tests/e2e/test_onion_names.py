"""No name under .onion is ever asked in the open DNS, in no documented set-up and under no fault (RFC 7686)."""

import os
from pathlib import Path

import pytest

from tests.mapfile.maps import A
from tests.onions import IMPOSSIBLE_ONIONS

from .conftest import skip_without
from .dns_logger import DnsLogger
from .onion_names_site import FAULTS, MAPPED_ONION, SETUPS, TABLE, WAITING, OnionNamesSite

GOOD = {
    "itself": A,
    "upper": A.upper(),
    "dot": f"{A}.",
    "label": f"a.b.{A}",
    "all": f"MAIL.{A.upper()}.",
}
UNICODE = {
    "wide": f"{A.removesuffix('.onion')}\u3002onion",
    "full": A.replace("onion", "\uff4f\uff4e\uff49\uff4f\uff4e"),
}
"""Other spellings, which an MTA turns into the name before it asks; the table has only one key."""
BAD = {f"bad{number}": name for number, name in enumerate(IMPOSSIBLE_ONIONS.values()) if "_" not in name}
BAD |= {"badupper": IMPOSSIBLE_ONIONS["a wrong checksum"].upper(), "baddot": f"{IMPOSSIBLE_ONIONS['a v2 address']}."}
OTHER = "elsewhere.example"


def addresses(names: dict[str, str], situation: int) -> dict[str, str]:
    """Return an address for each name that no other situation has."""
    return {kind: f"{kind}-{situation}@{name}" for kind, name in names.items()}


@pytest.mark.parametrize("setup", SETUPS)
def test_no_name_under_onion_is_asked_in_the_open_dns(tmp_path: Path, setup: str) -> None:
    if os.geteuid():
        pytest.skip("port 53 and Postfix's master are for root only")
    skip_without("exim4", "postqueue", "tor", "unshare")
    with DnsLogger(tmp_path) as logger, OnionNamesSite(tmp_path, logger, setup) as site:
        names = GOOD if setup == TABLE else GOOD | UNICODE
        good, bad = addresses(names | {"mapped": MAPPED_ONION}, 0), addresses(BAD, 0)
        other = f"user@{OTHER}"
        outcomes = site.send([*good.values(), *bad.values(), other])
        assert {each: outcomes[each] for each in good.values()} == dict.fromkeys(good.values(), "sent")
        assert {each: outcomes[each] for each in bad.values()} == dict.fromkeys(bad.values(), "refused")
        assert outcomes[other] == "refused"
        assert logger.questions_under(OTHER), "the logger hears nothing"
        for situation, (fault, happen) in enumerate(FAULTS.items(), start=1):
            happen(site)
            good, bad = addresses(names, situation), addresses(BAD, situation)
            if site.waits_for_daemons:  # ten seconds for each name
                good, bad = dict([good.popitem()]), dict([bad.popitem()])
            outcomes = site.send([*good.values(), *bad.values()])
            lost = {each for each in good.values() if outcomes[each] == "refused"}
            assert not lost, f"{fault}: a route was taken for none"
            assert "sent" not in {outcomes[each] for each in bad.values()}, fault
        assert logger.questions_under("onion") == []
        assert len(site.onion_mx.delivered()) >= len(GOOD)


@pytest.mark.parametrize("setup", SETUPS)
def test_domain_that_defers_waits_and_the_log_says_why(tmp_path: Path, setup: str) -> None:
    if os.geteuid():
        pytest.skip("port 53 and Postfix's master are for root only")
    skip_without("exim4", "postqueue", "tor", "unshare")
    with DnsLogger(tmp_path) as logger, OnionNamesSite(tmp_path, logger, setup) as site:
        recipient, other = f"waiting@{WAITING}", f"other@{OTHER}"
        assert site.send([recipient]) == {recipient: "deferred"}
        # Of a tcp_table's words Postfix says nothing; the daemon does.
        says_why = site.serve.daemon if "tcp_table" in setup else site.mta
        says_why.wait_for_log("its record names an onion MX, and what the domain demands of it")
        assert site.send([other]) == {other: "refused"}
        assert logger.questions_under(OTHER), "the logger hears nothing"
        assert logger.questions_under("onion") + logger.questions_under(WAITING) == []
        assert site.onion_mx.delivered() == []
