"""How the mailboxes of a machine are read."""

from .other_mta.as_receiver import messages

MAILBOX = b"""From carol@sender.example Sun Nov 29 15:00:00 2026
Subject: one

>From here
>>From there
> From a quotation
A line before From

From carol@sender.example Sun Nov 29 15:00:01 2026
Subject: two

"""


def test_the_messages_of_a_file() -> None:
    one, two = messages(MAILBOX)
    assert one == b"Subject: one\n\nFrom here\n>From there\n> From a quotation\nA line before From\n"
    assert two == b"Subject: two\n\n"
    assert messages(b"") == []
