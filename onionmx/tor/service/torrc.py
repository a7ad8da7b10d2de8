"""The text of a torrc: its options, the onion services in it, and the lines of a new one; no I/O (tor(1))."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from onionmx.errors import OnionError
from onionmx.onion import parse_port

DIRECTORY = "HiddenServiceDir"
PORT = "HiddenServicePort"
LOOPBACK = "127.0.0.1"
UNIX = "unix:"
ENCODING = "latin-1"
"""stem writes it to the control port, so that the bytes of the file arrive there as they are."""
BEGIN_MARK = "# >>> onionmx: onion service for mail >>>"
BEGIN_KEYS_MARK = "# >>> onionmx: keys of private onions >>>"
END_MARK = "# <<< onionmx <<<"

# Of all services together; they do not belong to the service above them.
_OF_ALL_SERVICES = {"hiddenservicesinglehopmode", "hiddenservicenonanonymousmode", "hiddenservicestatistics"}
_ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|x([0-9A-Fa-f]{2})|(.))", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
# A service and its path must come out of tor's parser as they went in.
_NEEDS_QUOTES = re.compile(r'["\\#]|^\s|\s$')


@dataclass(frozen=True, slots=True)
class Option:
    """One option.

    Attributes:
        keyword: as it is written; tor does not tell upper from lower case.
        value: without comment, quotes and line continuations.
    """

    keyword: str
    value: str

    def __str__(self) -> str:
        value = self.value
        if _NEEDS_QUOTES.search(value):
            value = '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        return f"{self.keyword} {value}"


@dataclass(frozen=True, slots=True)
class Forward:
    """Where tor hands over what comes in on a port of an onion service.

    Attributes:
        port: the virtual port, which clients connect to.
        target_host: IP address or name, or `unix:` and a path.
        target_port: `None` for a unix socket.
    """

    port: int
    target_host: str
    target_port: int | None

    @property
    def target(self) -> str:
        """As torrc writes it."""
        if self.target_port is None:
            path = self.target_host.removeprefix(UNIX)
            escaped = path.replace("\\", "\\\\").replace('"', '\\"')
            return f'{UNIX}"{escaped}"' if re.search(r'[\s"\\#]', path) else self.target_host
        host = f"[{self.target_host}]" if ":" in self.target_host else self.target_host
        return f"{host}:{self.target_port}"

    def __str__(self) -> str:
        return f"{self.port} {self.target}"


@dataclass(frozen=True, slots=True)
class ServiceBlock:
    """The lines of one onion service.

    Attributes:
        directory: its HiddenServiceDir; empty where lines come before the first one.
        forwards: its HiddenServicePort lines.
        options: its other options, by keyword.
    """

    directory: str
    forwards: tuple[Forward, ...]
    options: Mapping[str, str] = field(default_factory=dict)


def parse_torrc(text: str) -> list[Option]:
    """Read the options of a torrc; any text has some reading, and whether tor takes it tor says.

    A `#` outside of quotes starts a comment, a backslash at the end of a line joins the next one to it, and a value
    that begins with a quotation mark is a string with C escapes.
    """
    options = []
    for line in _logical_lines(text):
        keyword, _, value = line.partition(" ")
        options.append(Option(keyword, _unquoted(value.strip())))
    return options


def _logical_lines(text: str) -> Iterable[str]:
    joined = ""
    for raw in text.split("\n"):
        line = raw.rstrip("\r")
        stripped = _without_comment(line)
        if joined and line.lstrip().startswith("#"):
            continue  # tor allows comments between continued lines
        if stripped == line and line.endswith("\\"):
            joined += line[:-1]
            continue
        joined += stripped
        if words := joined.replace("\t", " ").strip():
            yield words
        joined = ""
    if words := joined.replace("\t", " ").strip():
        yield words


def _without_comment(line: str) -> str:
    value = re.match(r'\s*[^\s#"]+\s+("(?:[^"\\]|\\.)*")', line)
    start = value.end() if value else 0
    comment = line.find("#", start)
    return line if comment < 0 else line[:comment]


def _unquoted(value: str) -> str:
    quoted = _QUOTED.fullmatch(value)
    return _ESCAPE.sub(_unescaped, quoted[1]) if quoted else value


def _unescaped(match: re.Match[str]) -> str:
    octal, hexadecimal, char = match.groups()
    if octal:
        return chr(int(octal, 8) & 0xFF)
    if hexadecimal:
        return chr(int(hexadecimal, 16))
    return _ESCAPES.get(char, char)


def service_blocks(options: Iterable[Option]) -> list[ServiceBlock]:
    """Group the options of onion services, each HiddenServiceDir with what follows it.

    Options of other kinds between them do not matter, as for tor.
    """
    blocks: list[tuple[str, list[Forward], dict[str, str]]] = []
    for option in options:
        keyword = option.keyword.lower()
        if keyword == DIRECTORY.lower():
            blocks.append((option.value, [], {}))
        elif _is_of_service(option):
            if not blocks:
                blocks.append(("", [], {}))
            if keyword != PORT.lower():
                blocks[-1][2][option.keyword] = option.value
            elif (forward := parse_forward(option.value)) is not None:
                blocks[-1][1].append(forward)
    return [ServiceBlock(directory, tuple(forwards), others) for directory, forwards, others in blocks]


def split_off(options: Iterable[Option], directory: str) -> tuple[list[Option], list[Option]]:
    """The lines of the service with this HiddenServiceDir, and those of all other services, each in their order."""
    split: tuple[list[Option], list[Option]] = ([], [])
    is_of_it = False
    for option in options:
        if option.keyword.lower() == DIRECTORY.lower():
            is_of_it = option.value == directory
        split[not is_of_it].append(option)
    return split


def parse_forward(value: str) -> Forward | None:
    """Read the value of a HiddenServicePort: `VIRTPORT [TARGET]`.

    Returns:
        `None` if it is not of that form; tor would not take it either.
    """
    virtual, _, target = value.strip().partition(" ")
    target = target.strip()
    try:
        port = parse_port(virtual)
        if target.startswith(UNIX):
            path = _unquoted(target.removeprefix(UNIX))
            return Forward(port, UNIX + path, None) if path else None
        if not target:
            return Forward(port, LOOPBACK, port)
        if target.isdigit():
            return Forward(port, LOOPBACK, parse_port(target))
        match = re.fullmatch(r"(?:\[([^\]\s]+)\]|([^\s:\[\]]+))(?::(\d+))?", target)
        if match is None:
            return None
        return Forward(port, match[1] or match[2], parse_port(match[3]) if match[3] else port)
    except OnionError:
        return None


def format_options(begin: str, options: Iterable[Option]) -> str:
    """The marked lines that add options to the end of a torrc.

    Args:
        begin: the line before them.
    """
    return "\n".join([begin, *map(str, options), END_MARK, ""])


def format_block(block: ServiceBlock, more: Iterable[Option] = ()) -> str:
    """The marked lines that add a service to the end of a torrc.

    Args:
        block: the service; without a directory there is none, only what is more.
        more: options of other kinds that go with it.
    """
    return format_options(BEGIN_MARK, [*more, *block_options(block)])


def block_options(block: ServiceBlock) -> list[Option]:
    """The options of a service, in the order in which tor wants them."""
    options = []
    if block.directory:
        options.append(Option(DIRECTORY, block.directory))
        options += [Option(keyword, value) for keyword, value in block.options.items()]
    return options + [Option(PORT, str(forward)) for forward in block.forwards]


def setconf(options: Iterable[Option]) -> str:
    """The command that gives a running tor these options (control-spec section 3.1).

    The first line of an onion service takes away all services that tor has, so they have to be there all; without any
    there will be none.
    """
    others, services = split_services(options)
    words = [f"{option.keyword}={_control_quoted(option.value)}" for option in [*others, *services]]
    return " ".join(["SETCONF", *words, *([] if services else [DIRECTORY])])


def split_services(options: Iterable[Option]) -> tuple[list[Option], list[Option]]:
    """Other options, and the lines of onion services, each in their order."""
    split: tuple[list[Option], list[Option]] = ([], [])
    for option in options:
        split[_is_of_service(option)].append(option)
    return split


def _is_of_service(option: Option) -> bool:
    keyword = option.keyword.lower()
    return keyword.startswith("hiddenservice") and keyword not in _OF_ALL_SERVICES


def _control_quoted(value: str) -> str:
    """A QuotedString (control-spec section 2.1)."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def appended(text: str, fragment: str) -> str:
    """A torrc with a fragment at its end.

    There it cannot come between another HiddenServiceDir and its options. An empty line keeps it apart from a last
    line that ends in a backslash.
    """
    separator = "\n" if text.endswith("\n") or not text else "\n\n"
    return f"{text}{separator}{fragment}"
