"""Which answers hold although a reply too many came somewhere."""

from hypothesis import given
from hypothesis import strategies as st

from onionmx.smtp.client.outcome import Ending, Outcome
from onionmx.smtp.reply import Reply

codes = st.sampled_from([250, 251, 450, 503, 550])


def outcome(said: list[int]) -> Outcome:
    mail, *recipients, final = map(Reply, said)
    return Outcome(Ending.ANSWERED, mail=mail, recipients=tuple(recipients), final=final)


@given(said=st.lists(codes, min_size=3, max_size=6), surplus=codes, data=st.data())
def test_no_reading_is_worse_for_the_message(said: list[int], surplus: int, data: st.DataObject) -> None:
    """Whatever place the one too many came at: nothing is told 250 that was refused, nor 5xx without a 5xx."""
    place = data.draw(st.integers(0, len(said)))
    heard = [*said[:place], surplus, *said[place:]]
    true, read = outcome(said), outcome(heard[: len(said)])
    if not read.holds_with([Reply(heard[-1])]):
        return
    for index in range(len(said) - 2):
        told = read.answer(index)
        assert told.is_positive <= true.is_delivered_to(index)
        if told.is_permanent:
            assert true.answer(index).is_permanent
        if true.is_delivered_to(index):
            assert told.is_positive or surplus >= 400
