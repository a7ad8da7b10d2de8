"""Looking for mistakes in a whole map."""

from collections.abc import Iterator

from onionmx.domain import normalize, shown
from onionmx.errors import DomainError, OnionError
from onionmx.mapfile.cdb import COULD_NOT_TELL, MapReader, format_value, parse_value


def check(reader: MapReader) -> Iterator[str]:
    """One line for each mistake: in keys, in values, and in the way the file is built.

    Raises:
        MapError: the file is so damaged that the records cannot be told apart.
    """
    count = 0
    seen: set[bytes] = set()
    for key, value in reader.records():
        count += 1
        if key in seen:
            yield f"{shown(_text(key))}: a second entry for the same domain; readers see only the first"
            continue
        seen.add(key)
        yield from _check_record(_text(key), value)
        if key.isascii() and reader.get_value(_text(key)) != value:
            yield f"{shown(_text(key))}: the hash tables do not lead to this entry"
    if count != len(reader):
        yield f"the hash tables hold {len(reader)} entries, the file has {count}"


def count_deferring(reader: MapReader) -> int:
    """How many domains have to wait, because it could not be told whether their mail goes to their onion.

    Raises:
        MapError: as `check`.
    """
    deferring = COULD_NOT_TELL.encode()
    return sum(value == deferring for _, value in reader.records())


def _check_record(key: str, value: bytes) -> Iterator[str]:
    try:
        normal = normalize(key)
        if normal != key:
            yield f"{shown(key)}: readers look for {normal}, so this entry is never found"
    except DomainError as error:
        yield f"key: {error}"
    try:
        if format_value(parse_value(value)) != value:
            yield f"{shown(key)}: value {shown(_text(value))} is not in normal form (lower case, port 25 left out)"
    except OnionError as error:
        yield f"{shown(key)}: {error}"


def _text(raw: bytes) -> str:
    return raw.decode("ascii", "backslashreplace")
