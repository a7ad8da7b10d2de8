"""Sessions that the onion MX ends: by a limit, by 421 to the next message, by closing; and the limits of RFC 9422."""

import itertools
from pathlib import Path
from typing import Any

import pytest

from onionmx.config import RelaySection
from tests.mapfile.maps import A
from tests.relay.onion_mx import CLOSE, EXTENSIONS, Answer, Dialog, OnionMx
from tests.relay.served import MESSAGE, Site, codes, play

WAYS = {"LMTP": (True, 1), "SMTP": (False, 1), "SMTP, two recipients": (False, 2)}
TOO_MANY = "452 4.4.5 too many messages in this session"
BOTH = ["a@example.org", "b@example.org"]


def after(messages: int, verb: str, reply: str) -> Answer:
    """This reply to a verb in a session that had so many messages."""

    def answer(dialog: Dialog, said: str, _line: str) -> str | None:
        commands = [command.split(" ")[0] for command in dialog.commands]
        return reply if said == verb and commands.count("MAIL") > messages else None

    return answer


@pytest.mark.parametrize(
    ("verb", "reply", "way"),
    [
        *itertools.product(["MAIL"], ["421 4.3.2 closing", CLOSE, TOO_MANY], WAYS),
        *itertools.product(["END"], [TOO_MANY], WAYS),
    ],
)
def test_next_message_goes_on_a_new_session(tmp_path: Path, verb: str, reply: str, way: str) -> None:
    lmtp, count = WAYS[way]

    async def test(site: Site) -> None:
        for number in range(7):
            replies = await site.send(*BOTH[:count], lmtp=lmtp)
            assert codes(replies) == ["250 2.1.5"] * count + ["250 2.0.0"], number
        assert [taken.content.endswith(MESSAGE) for taken in site.mx.taken] == [True] * 7
        assert len(site.mx.dialogs) == 4

    play(tmp_path, test, OnionMx(after(2, verb, reply)))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("reply", "sessions"),
    [("421 4.3.2 closing", 2), (TOO_MANY, 2), ("452 4.3.1 the disk is full", 1), ("452 4.2.2 mailbox full", 1)],
)
def test_a_new_session_has_the_last_word(tmp_path: Path, reply: str, sessions: int, way: str) -> None:
    """Where one helps: no session empties a disk."""
    lmtp, count = WAYS[way]

    async def test(site: Site) -> None:
        assert codes(await site.send(*BOTH[:count], lmtp=lmtp))[-1].startswith("250")
        site.mx.answer = after(0, "MAIL", reply)
        (last,) = (await site.send(*BOTH[:count], lmtp=lmtp))[-1:]
        assert last.startswith("4")
        assert reply[10:] in last
        assert len(site.mx.dialogs) == sessions
        assert len(site.mx.taken) == 1

    play(tmp_path, test)


@pytest.mark.parametrize("reply", ["450 4.2.1 greylisted", "550 5.1.1 no such user", CLOSE])
def test_other_answer_to_a_recipient_on_the_new_session_is_not_given_for_all(tmp_path: Path, reply: str) -> None:
    """By SMTP both were told 250, and there is one reply: the message comes again whole, and nobody has it twice."""

    def answer(dialog: Dialog, verb: str, line: str) -> str | None:
        if dialog.number == 1:
            return after(1, "END", TOO_MANY)(dialog, verb, line)
        return reply if dialog.number == 2 and verb == "RCPT" and "b@" in line else None

    async def test(site: Site) -> None:
        for _ in range(2):
            replies = await site.send(*BOTH, lmtp=False)
        assert codes(replies) == ["250 2.1.5", "250 2.1.5", "452 4.4.5"]
        assert len(site.mx.taken) == 1
        assert codes(await site.send("a@example.org", lmtp=False)) == ["250 2.1.5", "250 2.0.0"]

    play(tmp_path, test, OnionMx(answer))


def test_refused_recipient_is_not_asked_again(tmp_path: Path) -> None:
    def answer(dialog: Dialog, verb: str, line: str) -> str | None:
        if verb == "RCPT" and "nobody" in line:
            return "550 5.1.1 no such user"
        return after(1, "END", TOO_MANY)(dialog, verb, line)

    async def test(site: Site) -> None:
        for _ in range(3):
            replies = await site.send("a@example.org", "nobody@example.org", "b@example.org", lmtp=False)
            assert codes(replies) == ["250 2.1.5", "550 5.1.1", "250 2.1.5", "250 2.0.0"]
        assert [taken.recipients for taken in site.mx.taken] == [tuple(BOTH)] * 3
        assert [sum("nobody" in line for line in dialog.commands) for dialog in site.mx.dialogs] == [2, 1, 0]

    play(tmp_path, test, OnionMx(answer))


def few_errors(most: int, *verbs: str) -> Answer:
    """It ends a session after so many recipients that it refused, as chasquid and Postfix do; by one of these verbs."""

    def answer(dialog: Dialog, verb: str, line: str) -> str | None:
        if verb not in (verbs or ("RCPT", "DATA", "BDAT")):
            return None
        refused = sum("nobody" in command for command in dialog.commands[:-1] if command.startswith("RCPT"))
        if refused >= most:
            return "421 4.5.0 too many errors"
        return "550 5.1.1 no such user" if "nobody" in line else None

    return answer


@pytest.mark.parametrize("extensions", [EXTENSIONS, ("PIPELINING",)], ids=["BDAT", "DATA"])
@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["nobody1", "nobody2", "a"], ["550", "550", "250"]),
        (["a", "nobody1", "b", "nobody2"], ["250", "550", "250", "550"]),
        (["a", "nobody1"], ["250", "550"]),
        (["nobody1", "a"], ["550", "250"]),
        (["nobody1", "nobody2"], ["550", "550"]),
        (["nobody1"], ["550"]),
    ],
)
def test_what_others_had_refused_is_no_answer_to_a_message(
    tmp_path: Path, names: list[str], expected: list[str], extensions: tuple[str, ...]
) -> None:
    """The messages before have used up the errors of the session: those whom it left out go on a new one at once."""

    async def test(site: Site) -> None:
        await site.send("c@example.org", "nobody3@example.org", "nobody4@example.org")
        replies = await site.send(*(f"{name}@example.org" for name in names))
        assert [reply[:3] for reply in replies[len(names) :]] == expected, replies
        taken = [recipient for each in site.mx.taken for recipient in each.recipients]
        known = [name for name in names if "nobody" not in name]
        assert sorted(taken) == sorted(f"{name}@example.org" for name in ["c", *known]), (
            "none is lost, none there twice"
        )

    play(tmp_path, test, OnionMx(few_errors(3), extensions))


@pytest.mark.parametrize(
    ("names", "most", "expected", "taken"),
    [
        (["nobody1", "nobody2"], 2, ["550", "550"], []),
        (["nobody1", "a"], 2, ["550", "250", "250"], ["a"]),
        (["a", "nobody1", "nobody2", "b"], 3, ["250", "550", "451", "451", "250"], ["a"]),
    ],
)
def test_by_smtp_what_others_had_refused_delays_nobody_who_was_accepted(
    tmp_path: Path, names: list[str], most: int, expected: list[str], taken: list[str]
) -> None:
    async def test(site: Site) -> None:
        await site.send("c@example.org", "nobody3@example.org", "nobody4@example.org")
        replies = await site.send(*(f"{name}@example.org" for name in names), lmtp=False)
        assert [reply[:3] for reply in replies][: len(expected)] == expected, replies
        assert [each.recipients for each in site.mx.taken[1:]] == [(f"{name}@example.org",) for name in taken]

    play(tmp_path, test, OnionMx(few_errors(most, "RCPT")))


def test_a_session_of_its_own_may_end_by_what_the_message_has_refused(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        replies = await site.send("nobody1@example.org", "nobody2@example.org", "a@example.org")
        assert [reply[:3] for reply in replies[3:]] == ["550", "451", "451"], replies
        assert len(site.mx.dialogs) == 1
        assert not site.mx.taken

    play(tmp_path, test, OnionMx(few_errors(1)))


def test_message_that_streams_comes_again(tmp_path: Path) -> None:
    """It cannot be sent twice; the session that had its fill is not used for the next one."""

    async def test(site: Site) -> None:
        large = b"Subject: x\r\n\r\n" + b"hello\r\n" * 1000
        sent = [codes(await site.send(*BOTH, lmtp=False, content=large))[-1] for _ in range(4)]
        assert sent == ["250 2.0.0", "452 4.4.5", "250 2.0.0", "452 4.4.5"]
        assert len(site.mx.taken) == 2
        assert len(site.mx.dialogs) == 2

    play(tmp_path, test, OnionMx(after(1, "END", TOO_MANY)), keep_limit=1000)


def test_421_after_the_recipients_is_the_answer(tmp_path: Path) -> None:
    """Whether the message was taken is for the onion MX to say, not to be guessed by another try."""

    async def test(site: Site) -> None:
        await site.send("a@example.org")
        site.mx.answer = after(1, "END", "421 4.3.2 closing")
        assert codes(await site.send("a@example.org"))[1] == "451 4.4.2"
        assert len(site.mx.dialogs) == 1

    play(tmp_path, test)


def sessions(tmp_path: Path, messages: int, *limits: str, **settings: Any) -> int:  # noqa: ANN401 -- fields of the section
    async def test(site: Site) -> int:
        for _ in range(messages):
            assert codes(await site.send("a@example.org"))[1] == "250 2.0.0"
        return len(site.mx.dialogs)

    number: int = play(tmp_path, test, OnionMx(extensions=(*EXTENSIONS, *limits)), **settings)
    return number


@pytest.mark.parametrize(
    ("limits", "settings", "number"),
    [
        ((), {}, 2),
        (("LIMITS MAILMAX=30",), {}, 1),
        (("LIMITS MAILMAX=3",), {}, 4),
        (("PIPECONNECT", "LIMITS MAILMAX=1000"), {}, 2),
        (("PIPECONNECT", "LIMITS MAILMAX=5"), {}, 3),
        (("PIPECONNECT", "LIMITS MAILMAX=1000"), {"messages_per_session_of": {A: 1000}}, 1),
        (("LIMITS MAILMAX=3",), {"messages_per_session_of": {A: 5}}, 4),
        (("LIMITS RCPTMAX=3",), {"messages_per_session_of": {A: 11}}, 1),
        ((), {"messages_per_session": 4}, 3),
    ],
)
def test_messages_of_a_session(tmp_path: Path, limits: tuple[str, ...], settings: dict[str, Any], number: int) -> None:
    assert sessions(tmp_path, 11, *limits, **settings) == number


def test_limit_for_what_is_no_onion() -> None:
    with pytest.raises(ValueError, match="not an onion address"):
        RelaySection(messages_per_session_of={"mx.example": 100})


RECIPIENTS = ["a@example.org", "b@example.org", "c@two.example", "d@example.org"]
ENTRIES = dict.fromkeys(("example.org", "two.example"), ((A, 25),))


@pytest.mark.parametrize(
    ("limit", "portions"),
    [
        ("RCPTMAX=3", [3, 1]),
        ("RCPTMAX=1", [1, 1, 1, 1]),
        ("RCPTDOMAINMAX=1", [3, 1]),
        ("RCPTMAX=2 RCPTDOMAINMAX=1", [2, 1, 1]),
        ("RCPTMAX=100 RCPTDOMAINMAX=2", [4]),
    ],
)
def test_recipients_of_a_transaction(tmp_path: Path, limit: str, portions: list[int]) -> None:
    async def test(site: Site) -> None:
        replies = await site.send(*RECIPIENTS)
        assert codes(replies[4:]) == ["250 2.0.0", "250 2.0.0", "550 5.1.1", "250 2.0.0"]
        named = [sum(name != "c@two.example" for name in taken.recipients) for taken in site.mx.taken]
        assert sorted(named, reverse=True) == sorted(filter(None, named), reverse=True)
        assert sum(named) == 3
        assert [name for taken in site.mx.taken for name in taken.recipients].count("a@example.org") == 1
        assert site.mx.verbs.count("MAIL") == len(portions)

    def answer(_dialog: Dialog, verb: str, line: str) -> str | None:
        return "550 5.1.1 no such user" if verb == "RCPT" and "c@two" in line else None

    play(tmp_path, test, OnionMx(answer, extensions=(*EXTENSIONS, f"LIMITS {limit}")), ENTRIES)


def test_recipients_of_a_message_that_streams_and_by_smtp(tmp_path: Path) -> None:
    """What can be sent only once goes to as many as may share it; the MTA is told to send the others again."""

    async def test(site: Site) -> None:
        large = b"Subject: x\r\n\r\n" + b"hello\r\n" * 1000
        replies = await site.send(*RECIPIENTS, content=large)
        assert codes(replies[4:]) == ["250 2.0.0", "250 2.0.0", "452 4.5.3", "452 4.5.3"]
        replies = await site.send(*RECIPIENTS, lmtp=False)
        assert codes(replies) == ["250 2.1.5", "250 2.1.5", "452 4.5.3", "452 4.5.3", "250 2.0.0"]

    play(tmp_path, test, OnionMx(extensions=(*EXTENSIONS, "LIMITS RCPTMAX=2")), ENTRIES, keep_limit=1000)
