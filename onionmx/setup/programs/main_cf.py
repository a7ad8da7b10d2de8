"""Postfix's main.cf and master.cf as texts (postconf(5), master(5)); what is in them, and how to add to them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from onionmx.setup.programs.blocks import appended, replaced, split

_PARAMETER = re.compile(r"([^\s=#]+)\s*=\s*(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A logical line.

    Attributes:
        first: number of its first line, from 0.
        after: number of the line behind its last one.
        text: its lines joined, with their ends, comments between them left out.
    """

    first: int
    after: int
    text: str


def entries(text: str) -> list[Parameter]:
    """The logical lines: a line that begins with white space goes on with the one before, comments do not end it."""
    result: list[Parameter] = []
    lines = split(text)
    for number, line in enumerate(lines):
        stripped = line.strip(" \t\r\n\f\v")
        if not stripped or stripped.startswith("#"):
            continue
        if line[0] in " \t" and result:
            last = result[-1]
            result[-1] = Parameter(last.first, number + 1, last.text + line)
        else:
            result.append(Parameter(number, number + 1, line))
    return result


def parameter(text: str, name: str) -> tuple[Parameter, str] | None:
    """The entry of a parameter, the last of several, as Postfix takes it, and its value; `None` where it is not set."""
    found = None
    for entry in entries(text):
        match = _PARAMETER.match(entry.text)
        if match and match[1] == name:
            found = entry, match[2]
    return found


def with_parameter(text: str, name: str, value: str) -> str:
    """main.cf with a parameter set: in a block that replaces the line that sets it, and keeps it, or at the end.

    So the parameter is never there twice.

    Args:
        value: one line, or several of which all but the first begin with white space.
    """
    body = f"{name} = {value}\n" if not value.startswith("\n") else f"{name} ={value}\n"
    there = parameter(text, name)
    return replaced(text, there[0].first, there[0].after, body) if there else appended(text, body)


def with_new_parameters(text: str, values: Mapping[str, str]) -> str:
    """main.cf with parameters that it does not set, in one block at the end."""
    return appended(text, "".join(f"{name} = {value}\n" for name, value in values.items())) if values else text


def services(text: str) -> set[tuple[str, str]]:
    """Name and type of the services in master.cf."""
    words = (entry.text.split() for entry in entries(text))
    return {(line[0], line[1]) for line in words if len(line) > 1}
