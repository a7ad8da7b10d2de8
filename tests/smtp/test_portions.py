from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from onionmx.smtp.envelope import Recipient
from onionmx.smtp.extensions import Extensions
from onionmx.smtp.portions import portions

ADDRESSES = st.builds("{}@{}".format, st.sampled_from("abc"), st.sampled_from(["a.test", "A.TEST", "b.test", "c.test"]))
LIMITS = st.none() | st.integers(1, 4)


@given(st.lists(ADDRESSES, min_size=1, max_size=12), LIMITS, LIMITS)
def test_everyone_is_in_one_portion_and_none_is_too_large(
    addresses: list[str], recipients: int | None, domains: int | None
) -> None:
    extensions = Extensions(rcpt_max=recipients, rcpt_domain_max=domains)
    found = portions([Recipient(address) for address in addresses], extensions)
    assert Counter(place for portion in found for place in portion) == Counter(range(len(addresses)))
    for portion in found:
        assert portion == sorted(portion)
        assert recipients is None or len(portion) <= recipients
        names = {addresses[place].rpartition("@")[2].lower() for place in portion}
        assert domains is None or len(names) <= domains
    if recipients is None and domains is None:
        assert len(found) == 1
    if domains is None and recipients:
        assert len(found) == -(-len(addresses) // recipients)
