"""A configuration file and its drop-ins: `FILE.d/*.toml`, in the order of their names, the later ones over the earlier.

Each key of a drop-in takes the place of that key alone, so that a program, such as `onionmx setup`, can have settings
of its own and leave the administrator's file as it is.
"""

import logging
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from onionmx.errors import ConfigurationError

SUFFIX = ".d"
PATTERN = "*.toml"

_RENAMED_TABLES = {"own": "local"}
_RENAMED_KEYS = {"sync": {"max_stale": "max_stale_days"}, "lookup": {"max_stale": "max_stale_seconds"}}
"""What had another name in version 0.1."""
_logger = logging.getLogger(__name__)

Part = tuple[str, dict[str, Any]]
"""The name of a file, for messages, and its tables."""


def read_part(path: Path) -> Part | None:
    """Read one file; `None` where it does not exist.

    Raises:
        ConfigurationError: it cannot be read, or is not TOML.
    """
    try:
        return str(path), parse_part(path.read_bytes(), str(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigurationError(f"configuration {path} cannot be read: {error.strerror}") from error


def parse_part(content: bytes, name: str) -> dict[str, Any]:
    """Read the tables of one file.

    Raises:
        ConfigurationError: it is not TOML.
    """
    try:
        return _renamed(tomllib.loads(content.decode("utf-8")), name)
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"configuration {name}: byte {error.start} is not UTF-8 text") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"configuration {name}: not TOML: {error}") from error


def _renamed(tables: dict[str, Any], name: str) -> dict[str, Any]:
    _rename(tables, _RENAMED_TABLES, name, "[{}]")
    for table, keys in _RENAMED_KEYS.items():
        if isinstance(there := tables.get(table), dict):
            _rename(there, keys, name, f"{table}.{{}}")
    return tables


def _rename(there: dict[str, Any], names: Mapping[str, str], file: str, form: str) -> None:
    for old_name, new_name in names.items():
        if old_name in there:
            old, new = form.format(old_name), form.format(new_name)
            if new_name in there:
                raise ConfigurationError(f"configuration {file}: {old} is the old name of {new}: keep {new}")
            _logger.warning("configuration %s: %s is now %s; version 0.3 will refuse the old name", file, old, new)
            there[new_name] = there.pop(old_name)


def read_drop_ins(file: Path) -> list[Part]:
    """Read the drop-ins of a configuration file, in their order.

    Args:
        file: it need not exist.

    Raises:
        ConfigurationError: one cannot be read, or is not TOML.
    """
    folder = file.with_name(file.name + SUFFIX)
    try:
        # Names with a dot in front are drafts of other programs.
        names = sorted(path for path in folder.iterdir() if path.match(PATTERN) and not path.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ConfigurationError(f"configuration {folder} cannot be read: {error.strerror}") from error
    return [part for path in names if (part := read_part(path))]


def merged(parts: Iterable[Part]) -> dict[str, Any]:
    """All parts as one: of each key in each table the last value."""
    result: dict[str, Any] = {}
    for _, tables in parts:
        for name, table in tables.items():
            there = result.get(name)
            result[name] = {**there, **table} if isinstance(there, dict) and isinstance(table, dict) else table
    return result
