"""Exim's routers for onionmx, which are copies: those of older versions let mail and names out.

- They took exit code 1 of the helper for "no route", which Python also ends with when it cannot start.
- With the relay, they handed over only what was in the map, and left other names under .onion to the router for DNS.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from onionmx.doctor.command import find_command, output_of
from onionmx.doctor.finding import Finding, ok, problem
from onionmx.doctor.machine import Machine
from onionmx.doctor.runner import Check, Topic
from onionmx.smtp.printable import printable

ROUTERS = Topic(
    "exim-routers",
    'Exim\'s routers for onionmx, if there are any, take only the words of an answer for "no route", and hand every '
    "name under .onion to onionmx",
    "routers copied from an older version send mail for onion MXes to the open internet while onionmx is upgraded, or "
    "ask the open DNS for .onion names",
)
_HEADING = re.compile(r"(\S+) router:")
_OPTION = re.compile(r"(\w+) = (.*)")
_CODE_ALONE = "{^1:}"
_CATCHES_ONION = re.compile(r"\.\)?onion\b")
_COPY = (
    "exim: replace router/190_onionmx by that of this version, from the same folder of exim/\n"
    "update-exim4.conf && systemctl restart exim4"
)


@dataclass(frozen=True, slots=True)
class EximRouter:
    """A router.

    Attributes:
        name: as in the configuration.
        options: those with a value.
    """

    name: str
    options: Mapping[str, str]

    @property
    def believes_a_code(self) -> bool:
        """Whether it looks for exit code 1 of the helper and for nothing else."""
        return any(map(believes_a_code, self.options.values()))

    @property
    def looks_into_the_map(self) -> bool:
        """Whether it hands to the relay what is in the map."""
        return self.options.get("transport") == "onionmx_relay" and "}cdb{" in self.options.get("address_data", "")

    @property
    def catches_onion(self) -> bool:
        """Whether it speaks of names under .onion."""
        return any(
            _CATCHES_ONION.search(self.options.get(name, "")) for name in ("domains", "condition", "address_data")
        )


def believes_a_code(text: str) -> bool:
    """Whether an option, or a file of routers, looks for exit code 1 of the helper and for nothing else."""
    return _CODE_ALONE in text and "$address_data" in text


def read_routers(text: str) -> Iterator[EximRouter]:
    """Read what `exim -bP routers` prints: a heading, then an option a line."""
    name, options = "", dict[str, str]()
    for line in text.splitlines():
        if heading := _HEADING.fullmatch(line):
            if name:
                yield EximRouter(name, options)
            name, options = heading[1], {}
        elif option := _OPTION.fullmatch(line):
            options[option[1]] = option[2]
    if name:
        yield EximRouter(name, options)


def judge_routers(routers: Sequence[EximRouter]) -> list[Finding]:
    """Judge the routers in the order in which Exim has them."""
    findings = [
        problem(ROUTERS.name, f'a leak: router {printable(router.name)} takes exit code 1 alone for "no route"', _COPY)
        for router in routers
        if router.believes_a_code
    ]
    caught = False
    for router in routers:
        caught = caught or router.catches_onion
        if router.looks_into_the_map and not caught:
            seen = f"a leak: router {printable(router.name)} leaves names under .onion that are not in the map to DNS"
            findings.append(problem(ROUTERS.name, seen, _COPY))
    return findings or [ok(ROUTERS.name, f"{len(routers)} routers, none of which lets out what is for onionmx")]


async def look_at_routers(_machine: Machine) -> Sequence[Finding]:
    """Ask Exim for its routers, which only its own users may."""
    program = find_command("exim4", "exim")
    if program is None:
        return [ok(ROUTERS.name, "no Exim on this machine")]
    return judge_routers(list(read_routers(await output_of(program, "-bP", "routers"))))


CHECK = Check((ROUTERS,), look_at_routers)
