"""What is on this machine, looked at once: all that the plan depends on."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from onionmx.config import Configuration
from onionmx.config.drop_in import Part, parse_part
from onionmx.errors import ConfigurationError
from onionmx.setup.programs import exim, opensmtpd, postfix, settings, tor
from onionmx.setup.programs.exim_template import SECTIONS
from onionmx.setup.programs.mtas import MTAS, SENDMAIL, MtaSigns, handling_mail, owners
from onionmx.setup.programs.wishes import Mta, SetupOptions
from onionmx.setup.steps import ENCODING, FileState, without_ours
from onionmx.setup.system import System
from onionmx.shipped import shipped

TOR_UNITS = ("tor@default.service", "tor.service")
"""Debian's instance, and that of others."""
_APPARMOR = "/sys/module/apparmor/parameters/enabled"
_PARSERS = ("/usr/sbin/apparmor_parser", "/sbin/apparmor_parser")
_KILL = "/bin/kill"
_SYSTEMD = "/run/systemd/system"
_RUNNING = frozenset({"active", "activating", "reloading"})
_STOPPED = frozenset({"inactive", "failed", "deactivating", "unknown"})
"""What `systemctl is-active` says."""
_TOR_PROGRAMS = ("/usr/bin/tor", "/usr/sbin/tor", "/usr/local/bin/tor")


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """The machine.

    Attributes:
        files: those that a plan may change or has to look at, by path; a file that does not exist is not there.
        mtas: that are installed.
        configuration: of onionmx, in effect without our drop-in.
        shipped: files that come with onionmx: fragments by path, units by name.
        systemd: whether it runs.
        apparmor: whether the kernel enforces it, and its profiles can be loaded here.
        tor: path of the program; empty where there is none.
        tor_unit: its unit.
        reloads: whether systemd can reload it: its unit runs /bin/kill, which the smallest systems lack.
        packaged_units: names of units that a package has brought.
        enabled: names of units that are enabled or running.
        mynetworks: of Postfix, in effect; empty where there is no Postfix.
        map_types: of Postfix (`postconf -m`).
        program: command that runs onionmx.
        helper: path of `onionmx-route`.
        users: file that says which users onionmx needs (sysusers.d(5)).
        folders: file that says which folders it needs (tmpfiles.d(5)).
        logs: of the MTA, as patterns that have a file.
        problems: of the folder of the onion service, in words; empty for none.
    """

    files: Mapping[str, FileState]
    mtas: tuple[Mta, ...]
    configuration: Configuration
    shipped: Mapping[str, bytes]
    systemd: bool = True
    apparmor: bool = False
    tor: str = "/usr/bin/tor"
    tor_unit: str = TOR_UNITS[0]
    reloads: bool = True
    packaged_units: frozenset[str] = frozenset()
    enabled: frozenset[str] = frozenset()
    mynetworks: str = ""
    map_types: frozenset[str] = frozenset()
    program: str = settings.PACKAGED_PROGRAM
    helper: str = "/usr/bin/onionmx-route"
    users: str = "/usr/lib/sysusers.d/onionmx.conf"
    folders: str = "/usr/lib/tmpfiles.d/onionmx-fallback.conf"
    logs: tuple[str, ...] = ()
    problems: str = ""

    def text(self, path: str) -> str:
        """The text of a file; empty where there is none."""
        state = self.files.get(path)
        return state.text if state else ""


def installed_mtas(system: System) -> tuple[MtaSigns, ...]:
    """The MTAs on this machine: program, or unit, and the file without which it cannot be."""
    leads_to = system.leads_to(SENDMAIL)
    there = [signs for signs in MTAS if _is_installed(system, signs)]
    return (*there, *owners([signs for signs in MTAS if not signs.programs], leads_to))


def _is_installed(system: System, signs: MtaSigns) -> bool:
    if signs.settings and not system.exists(signs.settings):
        return False
    own = not signs.mta and any(_unit_exists(system, unit) for unit in signs.units)
    return own or any(map(system.exists, signs.programs))


def mtas_handling_mail(system: System) -> tuple[MtaSigns, ...]:
    """That of them which handles the mail of this machine; several where it cannot be told."""
    there = installed_mtas(system)
    running = {signs.name: _runs(system, signs) for signs in there} if len(there) > 1 else {}
    return handling_mail(there, running, system.leads_to(SENDMAIL))


def _runs(system: System, signs: MtaSigns) -> bool | None:
    """Whether one of its units is running; `None` where that could not be told."""
    if not system.exists(_SYSTEMD):
        return None
    states = {system.run(("systemctl", "is-active", unit)).output.strip() for unit in signs.units}
    if states & _RUNNING:
        return True
    return False if states <= _STOPPED else None


def read_configuration(system: System) -> Configuration:
    """The configuration in effect without our drop-in.

    Raises:
        ConfigurationError: it cannot be read or is wrong.
    """
    parts: list[Part] = []
    folder = system.real(settings.FOLDER)
    names = sorted(path.name for path in folder.glob("*.toml") if not path.name.startswith("."))
    for path in (settings.FILE, *(f"{settings.FOLDER}/{name}" for name in names)):
        state = system.read(path) if path != settings.DROP_IN else None
        if state is not None:
            parts.append((path, parse_part(state.content, path)))
    return Configuration.from_parts(parts)


def observe(system: System, wishes: SetupOptions, program: str, helper: str) -> Observed:
    """Look at the machine.

    Args:
        wishes: what is wanted; it tells which MTA to look at.
        program: command that runs onionmx, for units.
        helper: path of `onionmx-route`.

    Raises:
        ConfigurationError: a file cannot be read.
    """
    configuration = read_configuration(system)
    fragments = _shipped()
    unit_names = _units(system)
    try:
        files = {path: state for path in _paths(system, fragments) if (state := system.read(path)) is not None}
    except OSError as error:
        raise ConfigurationError(f"{error.filename} cannot be read: {error.strerror}; run as root") from error
    apparmor = system.read(_APPARMOR)
    systemd = system.exists(_SYSTEMD)
    tor_unit = next((unit for unit in TOR_UNITS if _unit_exists(system, unit)), TOR_UNITS[-1])
    more: dict[str, Any] = {}
    if wishes.mta == "postfix":
        more["mynetworks"] = _networks(system, files)
        more["map_types"] = frozenset(system.run(("postconf", "-m")).output.split())
    return Observed(
        files=files,
        mtas=tuple(signs.mta for signs in installed_mtas(system) if signs.mta),
        configuration=configuration,
        shipped=fragments,
        systemd=systemd,
        apparmor=apparmor is not None and apparmor.content.strip() == b"Y" and any(map(system.exists, _PARSERS)),
        tor=next(filter(system.exists, _TOR_PROGRAMS), ""),
        tor_unit=tor_unit,
        reloads=system.exists(_KILL) or not (systemd and not system.run(("systemctl", "is-active", tor_unit)).code),
        packaged_units=unit_names,
        enabled=frozenset(unit for unit in settings.UNITS if systemd and _is_on(system, unit)),
        program=program,
        helper=helper,
        users=str(shipped(f"deploy/{settings.USERS}")),
        folders=str(shipped(f"deploy/{settings.FOLDERS}")),
        logs=_logs(system, wishes),
        problems=_folder_problem(system, configuration.onion.directory) if wishes.receive else "",
        **more,
    )


def _networks(system: System, files: Mapping[str, FileState]) -> str:
    """`mynetworks` in effect as it would be without our blocks."""
    with system.scratch() as folder:
        for path in (postfix.MAIN, postfix.MASTER):
            (folder / PurePosixPath(path).name).write_bytes(without_ours(files.get(path), path).encode(ENCODING))
        done = system.run(("postconf", "-c", str(folder), "-xh", "mynetworks"))
    if done.code:
        raise ConfigurationError(f"{postfix.MAIN} cannot be read by postconf: {done.said}")
    return done.output.strip()


def _shipped() -> dict[str, bytes]:
    found = {}
    for folder in exim.SHIPPED:
        root = shipped(folder)
        for path in sorted(root.rglob("*")):
            if path.is_file():
                found[f"{folder}/{path.relative_to(root)}"] = path.read_bytes()
    for unit in settings.UNITS:
        found[unit] = shipped(f"deploy/{unit}").read_bytes()
    return found


def _paths(system: System, fragments: Mapping[str, bytes]) -> list[str]:
    paths = [tor.TORRC, tor.DEFAULTS, tor.APPARMOR_LOCAL, tor.APPARMOR_PROFILE, postfix.MAIN, postfix.MASTER]
    paths += [exim.SETTINGS, exim.TEMPLATE, exim.LOCAL_MACROS, exim.BY_HAND, opensmtpd.CONF]
    paths += [settings.DROP_IN, settings.MAP_COMMAND]
    paths += [f"{settings.OWN_UNITS}/{unit}" for unit in settings.UNITS]
    confd = system.real(exim.CONFD)
    for section in SECTIONS:
        paths += [f"{exim.CONFD}/{section}/{path.name}" for path in sorted((confd / section).glob("[!.]*"))]
    for name in (*fragments, f"exim/conf.d/{exim.MACROS}"):
        if "/conf.d/" in name:
            paths.append(f"{exim.CONFD}/{PurePosixPath(name.partition('/conf.d/')[2])}")
    return list(dict.fromkeys(paths))


def _units(system: System) -> frozenset[str]:
    return frozenset(
        unit for unit in settings.UNITS if any(system.exists(f"{folder}/{unit}") for folder in settings.UNIT_FOLDERS)
    )


def _unit_exists(system: System, unit: str) -> bool:
    return any(system.exists(f"{folder}/{unit}") for folder in (*settings.UNIT_FOLDERS, settings.OWN_UNITS))


def _is_on(system: System, unit: str) -> bool:
    return not (
        system.run(("systemctl", "is-enabled", "--quiet", unit)).code
        and system.run(("systemctl", "is-active", "--quiet", unit)).code
    )


def _logs(system: System, wishes: SetupOptions) -> tuple[str, ...]:
    log = {"exim": exim.LOG, "postfix": postfix.LOG}.get(wishes.mta or "")
    return (f"{log}*",) if log and any(system.real(log).parent.glob(f"{PurePosixPath(log).name}*")) else ()


def _folder_problem(system: System, directory: str) -> str:
    """What would end tor when it takes the service, and `tor --verify-config` passes over: a folder of another user."""
    real = system.real(directory)
    try:
        above = real.parent.stat()
        for path in (real, *(real.iterdir() if real.is_dir() else ())):
            if path.exists() and path.stat().st_uid != above.st_uid:
                return (
                    f"{path} belongs to user {path.stat().st_uid}: chown -R {above.st_uid}:{above.st_gid} {directory}"
                )
    except FileNotFoundError:
        return f"{real.parent} does not exist: set onion.directory to a folder in tor's DataDirectory"
    except OSError as error:
        return f"{directory} cannot be looked at: {error.strerror}; run as root"
    return ""
