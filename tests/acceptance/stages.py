"""Which parts run, on which release and with which MTA, and what has to be made before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .mta import EXIM, MTAS
from .other_mta.known import OPENSMTPD, OTHERS
from .part import Part
from .pod.proof import RELEASE as POD_RELEASE
from .roots import RELEASES, cache_folder

PACKAGE = "package"
MACHINE = "machine"
ALL_MTAS = (*MTAS, *OTHERS)
_SETTLED = tuple(name for name, release in RELEASES.items() if release.settled)


@dataclass(frozen=True)
class Kind:
    """What a part of the acceptance needs.

    Args:
        is_default: whether it runs when no part is named.
        needs: what is made for it, of PACKAGE and MACHINE.
        each_mta: whether it runs with each MTA that is asked for; else with the first one.
        mtas: those with which it can run.
        releases: where it can run.
        once: whether one of these releases is enough.
    """

    is_default: bool = True
    needs: tuple[str, ...] = (PACKAGE, MACHINE)
    each_mta: bool = False
    mtas: tuple[str, ...] = tuple(MTAS)
    releases: tuple[str, ...] = tuple(RELEASES)
    once: bool = False


KINDS: Mapping[str, Kind] = {
    "pod": Kind(needs=(PACKAGE,), releases=(POD_RELEASE,)),
    "units": Kind(),
    "tor-machine": Kind(releases=_SETTLED, once=True),
    "pipeline": Kind(needs=(), releases=_SETTLED, once=True),
    # Testing would show the attacker nothing that the others do not.
    "attacker": Kind(releases=_SETTLED),
    "documents": Kind(each_mta=True),
    "setup": Kind(each_mta=True, mtas=(*MTAS, OPENSMTPD.name)),
    "other-mta": Kind(each_mta=True, mtas=tuple(OTHERS), releases=_SETTLED),
    "upgrade": Kind(is_default=False),
    "fresh": Kind(is_default=False, needs=()),
}
"""In the order in which they begin: the longest first, as two run side by side."""
SUITES = ("e2e", "unit", "all")
"""What `fresh` may run beside the demo."""


def stages(
    kinds: Sequence[str], releases: Sequence[str], mtas: Sequence[str], suites: Mapping[str, str], folder: Path
) -> list[list[Part]]:
    """The parts; each stage needs what those before it have made.

    Args:
        kinds: of KINDS.
        releases: of RELEASES.
        mtas: of ALL_MTAS.
        suites: of SUITES, by release.
        folder: where the parts keep their files.
    """

    def part(kind: str, release: str, mta: str) -> Part:
        suite = suites.get(release, "") if kind == "fresh" else ""
        return Part(kind, release, mta, str(cache_folder() / release), str(folder), suite)

    done = [
        part(name, release, mta)
        for name, kind in KINDS.items()
        if name in kinds
        for release in _where(kind, releases)
        for mta in _with(name, kind, mtas)
    ]
    packages = dict.fromkeys(each.release for each in done if PACKAGE in KINDS[each.kind].needs)
    machines = dict.fromkeys((each.release, each.mta) for each in done if MACHINE in KINDS[each.kind].needs)
    made = [part(PACKAGE, release, "") for release in packages]
    return [[*made, *(part(MACHINE, release, mta) for release, mta in machines)], done]


def _where(kind: Kind, asked: Sequence[str]) -> Sequence[str]:
    found = [name for name in asked if name in kind.releases]
    return found[:1] if kind.once else found


def _with(name: str, kind: Kind, asked: Sequence[str]) -> Sequence[str]:
    if MACHINE not in kind.needs:
        return [""]
    if name == "upgrade":  # Exim alone asks a program of the package for each message
        return [EXIM.name]
    found = [mta for mta in asked if mta in kind.mtas]
    return found if kind.each_mta else found[:1] or kind.mtas[:1]
