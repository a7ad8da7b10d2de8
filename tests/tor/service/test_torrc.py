"""Reading torrc text as tor reads it, and the lines of a new service."""

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.tor.service.torrc import (
    BEGIN_MARK,
    END_MARK,
    Forward,
    Option,
    ServiceBlock,
    appended,
    block_options,
    format_block,
    parse_forward,
    parse_torrc,
    service_blocks,
    setconf,
    split_off,
)

WORDS = st.text(string.ascii_letters, min_size=1)
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1).map(str.strip).filter(bool)
PATHS = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1).map(lambda text: f"/{text}")
FOLDERS = PATHS.map(str.rstrip).filter(lambda path: len(path) > 1)
PORTS = st.integers(1, 65535)
FORWARDS = st.one_of(
    st.builds(Forward, PORTS, st.ip_addresses().map(str), PORTS),
    st.builds(lambda port, path: Forward(port, f"unix:{path}", None), PORTS, PATHS),
)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("", []),
        ("# nothing\n\n   \t\n", []),
        ("SocksPort 9050", [("SocksPort", "9050")]),
        ("  SocksPort\t9050  # why\r\n", [("SocksPort", "9050")]),
        ('DataDirectory "/var/lib/t\\"or #1" # comment', [("DataDirectory", '/var/lib/t"or #1')]),
        ('Nickname "a\\x62\\143\\n"', [("Nickname", "abc\n")]),
        ("ExitPolicy accept 127.0.0.1:*, \\\n  # between\n  reject *:*\nNickname x", None),
        ("HiddenServicePort 25 127.0.0.2:25\\", [("HiddenServicePort", "25 127.0.0.2:25")]),
        ("RunAsDaemon", [("RunAsDaemon", "")]),
        ('HiddenServicePort 25 unix:"/a b"', [("HiddenServicePort", '25 unix:"/a b"')]),
    ],
)
def test_options(text: str, options: list[tuple[str, str]] | None) -> None:
    found = [(option.keyword, option.value) for option in parse_torrc(text)]
    if options is None:
        assert [keyword for keyword, _ in found] == ["ExitPolicy", "Nickname"]
        assert found[0][1].split() == ["accept", "127.0.0.1:*,", "reject", "*:*"]
    else:
        assert found == options


@pytest.mark.parametrize(
    ("value", "forward"),
    [
        ("25", Forward(25, "127.0.0.1", 25)),
        ("25 2525", Forward(25, "127.0.0.1", 2525)),
        ("25 127.0.0.2", Forward(25, "127.0.0.2", 25)),
        ("25 127.0.0.2:2525", Forward(25, "127.0.0.2", 2525)),
        ("25  [::1]:2525", Forward(25, "::1", 2525)),
        ("25 [::1]", Forward(25, "::1", 25)),
        ("25 mx.example.org:2525", Forward(25, "mx.example.org", 2525)),
        ("25 unix:/run/mx", Forward(25, "unix:/run/mx", None)),
        ('25 unix:"/run/m x"', Forward(25, "unix:/run/m x", None)),
    ],
)
def test_forward(value: str, forward: Forward) -> None:
    assert parse_forward(value) == forward


@pytest.mark.parametrize("value", ["", "0", "65536", "smtp", "25 127.0.0.2:0", "25 a b", "25 unix:", "25 1:2:3", "-25"])
def test_what_tor_does_not_take_is_no_forward(value: str) -> None:
    assert parse_forward(value) is None


def test_services_with_what_belongs_to_them() -> None:
    text = """
        HiddenServicePort 80
        HiddenServiceDir /a
        SocksPort 9050
        hiddenserviceport 25 127.0.0.2:25
        HiddenServiceMaxStreams 10
        HiddenServiceSingleHopMode 0
        HiddenServiceDir /b
        HiddenServicePort 25 nonsense:0
    """
    assert service_blocks(parse_torrc(text)) == [
        ServiceBlock("", (Forward(80, "127.0.0.1", 80),)),
        ServiceBlock("/a", (Forward(25, "127.0.0.2", 25),), {"HiddenServiceMaxStreams": "10"}),
        ServiceBlock("/b", ()),
    ]


@given(st.text())
def test_any_text_has_a_reading(text: str) -> None:
    for option in parse_torrc(text):
        assert option.keyword
        parse_forward(option.value)
    service_blocks(parse_torrc(text))


@given(st.lists(st.builds(Option, WORDS, VALUES)))
def test_what_is_written_is_read_back(options: list[Option]) -> None:
    assert parse_torrc("".join(f"{option}\n" for option in options)) == options


@given(FORWARDS)
def test_forward_is_read_back(forward: Forward) -> None:
    assert parse_forward(str(forward)) == forward


@given(st.lists(st.builds(Option, WORDS, VALUES)), FOLDERS, FORWARDS, WORDS)
def test_fragment_adds_one_service(before: list[Option], directory: str, forward: Forward, last: str) -> None:
    block = ServiceBlock(directory, (forward,), {"HiddenServiceMaxStreams": "10"})
    fragment = format_block(block, [Option("LongLivedPorts", "21,25")])
    assert fragment.startswith(f"{BEGIN_MARK}\n")
    assert fragment.endswith(f"{END_MARK}\n")
    text = "".join(f"{option}\n" for option in before) + last
    old, new = parse_torrc(text), parse_torrc(appended(text, fragment))
    assert new[: len(old)] == old
    assert new[len(old)] == Option("LongLivedPorts", "21,25")
    assert service_blocks(new[len(old) :]) == [block]


def test_fragment_does_not_continue_the_last_line() -> None:
    text = appended("Nickname x\\", format_block(ServiceBlock("/a", (Forward(25, "127.0.0.2", 25),))))
    assert [option.keyword for option in parse_torrc(text)] == ["Nickname", "HiddenServiceDir", "HiddenServicePort"]


@given(st.lists(st.builds(ServiceBlock, FOLDERS, st.lists(FORWARDS, min_size=1).map(tuple)), max_size=3))
def test_running_tor_is_given_what_torrc_has(blocks: list[ServiceBlock]) -> None:
    options = [option for block in blocks for option in block_options(block)]
    command = setconf([Option("LongLivedPorts", "25"), *options])
    words = re.findall(r'(\w+)(?:="((?:[^"\\]|\\.)*)")?(?: |$)', command.removeprefix('SETCONF LongLivedPorts="25" '))
    given_options = [Option(keyword, re.sub(r"\\(.)", r"\1", value)) for keyword, value in words]
    assert given_options == (options or [Option("HiddenServiceDir", "")])
    assert "\n" not in command
    assert service_blocks(given_options if options else []) == blocks


@given(st.lists(st.tuples(FOLDERS, st.lists(FORWARDS, max_size=3)), max_size=4, unique_by=lambda pair: pair[0]))
def test_one_service_taken_away_and_brought_back(services: list[tuple[str, list[Forward]]]) -> None:
    blocks = [ServiceBlock(folder, tuple(forwards)) for folder, forwards in services]
    options = [option for block in blocks for option in block_options(block)]
    for block in blocks:
        own, others = split_off(options, block.directory)
        assert own == block_options(block)
        assert service_blocks(others) == [one for one in blocks if one is not block]
        assert service_blocks([*others, *own]) == [one for one in blocks if one is not block] + [block]
    assert split_off(options, "none") == ([], options)
