"""Several targets, of which each fails in its own way: what the message hears in the end."""

import itertools
from pathlib import Path

import pytest

from tests.mapfile.maps import A, B
from tests.relay.onion_mx import CLOSE, Dialog, OnionMx
from tests.relay.served import ENTRIES, Site, codes, play

TEMPORARY: dict[str, int | str] = {
    "down": 0xF0,
    "greeting 421": "421 4.3.2 busy",
    "greeting 450": "450 4.3.2 busy",
    "greeting closes": CLOSE,
}
PERMANENT: dict[str, int | str] = {"bad address": 0xF6, "greeting 554": "554 5.7.1 no mail here"}
WAYS = {"LMTP": (True, 1), "SMTP, two recipients": (False, 2)}


def failing(*faults: int | str | None) -> OnionMx:
    """Onion MXes A and B: refused by tor (a number), or with this greeting."""
    said = dict(zip((A, B), faults, strict=True))

    def answer(dialog: Dialog, verb: str, _line: str) -> str | None:
        fault = said[dialog.onion]
        return fault if verb == "greeting" and isinstance(fault, str) else None

    return OnionMx(answer, socks={onion: fault for onion, fault in said.items() if isinstance(fault, int)})


def last_reply(
    tmp_path: Path, mx: OnionMx, way: str, content: bytes = b"Subject: x\r\n\r\nhello\r\n", mail: str = ""
) -> str:
    lmtp, count = WAYS[way]

    async def test(site: Site) -> str:
        recipients = [f"user{number}@two.example" for number in range(count)]
        return (await site.send(*recipients, lmtp=lmtp, mail=mail, content=content))[-1]

    reply: str = play(tmp_path, test, mx, keep_limit=2000)
    return reply


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("is_turned", [False, True], ids=["temporary first", "permanent first"])
@pytest.mark.parametrize(("temporary", "permanent"), list(itertools.product(TEMPORARY, PERMANENT)))
def test_one_that_failed_for_the_moment_keeps_the_message_temporary(
    tmp_path: Path, temporary: str, permanent: str, way: str, *, is_turned: bool
) -> None:
    faults = (TEMPORARY[temporary], PERMANENT[permanent])
    assert last_reply(tmp_path, failing(*(reversed(faults) if is_turned else faults)), way).startswith("4")


@pytest.mark.parametrize("way", WAYS)
def test_all_for_good(tmp_path: Path, way: str) -> None:
    assert last_reply(tmp_path, failing(*PERMANENT.values()), way).startswith("5")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "END"])
def test_a_refusal_of_the_message_itself_counts(tmp_path: Path, way: str, verb: str) -> None:
    mx = failing(0xF0, None)
    mx.answer = lambda _dialog, said, _line: "550 5.7.1 not this one" if said == verb else None
    assert codes([last_reply(tmp_path, mx, way)]) == ["550 5.7.1"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [100, 100_000], ids=["kept", "streamed"])
def test_a_target_that_lacks_what_the_message_needs_is_passed_over(tmp_path: Path, way: str, size: int) -> None:
    """SMTPUTF8 here: at the second target the message gets through; where that one is down it waits."""
    lacking = "250-mx.example\r\n250-PIPELINING\r\n250 CHUNKING"

    def answer(dialog: Dialog, verb: str, _line: str) -> str | None:
        return lacking if verb == "EHLO" and dialog.onion == A else None

    mx = OnionMx(answer)
    content = b"Subject: x\r\n\r\n" + b"hello\r\n" * (size // 7)
    assert last_reply(tmp_path, mx, way, content, " SMTPUTF8").startswith("250")
    (taken,) = mx.taken
    assert (taken.onion, taken.content.endswith(content)) == (B, True)
    down = OnionMx(answer, socks={B: 0xF0})
    assert codes([last_reply(tmp_path, down, way, content, " SMTPUTF8")]) == ["451 4.4.1"]
    alone = OnionMx(lambda _dialog, verb, _line: lacking if verb == "EHLO" else None)
    assert codes([last_reply(tmp_path, alone, way, content, " SMTPUTF8")]) == ["553 5.6.7"]
    assert len(alone.dialogs) == len(ENTRIES["two.example"])


STEPWISE = "SMTP, two recipients"
AT_MAIL = ["450 4.3.2 busy", "452 4.3.1 the disk is full", "421 4.3.2 closing", CLOSE]


def mail_of_first(fault: str) -> OnionMx:
    """Onion MX A says this to MAIL."""
    return OnionMx(lambda dialog, verb, _line: fault if verb == "MAIL" and dialog.onion == A else None)


@pytest.mark.parametrize(("fault", "way"), [(CLOSE, STEPWISE), *itertools.product(AT_MAIL[:-1], WAYS)])
def test_next_target_takes_what_one_does_not_take_for_the_moment(tmp_path: Path, fault: str, way: str) -> None:
    """Where the connection ends without a word, only by steps: one flight may have been taken."""
    mx = mail_of_first(fault)
    assert last_reply(tmp_path, mx, way).startswith("250")
    assert [taken.onion for taken in mx.taken] == [B]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fault", AT_MAIL)
@pytest.mark.parametrize("second", [0xF0, 0xF6], ids=["down", "bad address"])
def test_first_target_has_the_word_where_the_second_fails(tmp_path: Path, fault: str, second: int, way: str) -> None:
    mx = mail_of_first(fault)
    mx.socks = {B: second}
    assert last_reply(tmp_path, mx, way).startswith("4")
    assert mx.taken == []


@pytest.mark.parametrize(("fault", "tries"), [(CLOSE, 2), ("450 4.3.2 busy", 4)])
def test_target_that_breaks_off_at_mail_is_left_alone(tmp_path: Path, fault: str, tries: int) -> None:
    lmtp, count = WAYS[STEPWISE]

    async def test(site: Site) -> None:
        recipients = [f"user{number}@two.example" for number in range(count)]
        for _ in range(4):
            assert (await site.send(*recipients, lmtp=lmtp))[-1].startswith("250")
        said = [line for dialog in site.mx.dialogs if dialog.onion == A for line in dialog.commands]
        assert sum(line.startswith("MAIL") for line in said) == tries

    play(tmp_path, test, mail_of_first(fault))
