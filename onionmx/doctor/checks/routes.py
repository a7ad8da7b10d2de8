"""What routes are made of on this machine: the map that sync writes, and the pins."""

import time
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

from onionmx.config import Configuration, SyncSection
from onionmx.doctor.command import find_command, output_of
from onionmx.doctor.finding import AS_ROOT, Finding, Severity, blocking, not_checked, ok, problem, warning
from onionmx.doctor.isolation.units import COMMAND
from onionmx.doctor.machine import Machine, in_thread
from onionmx.doctor.runner import Check, Topic
from onionmx.errors import ConfigurationError, MapError, MissingMapError, OnionmxError, TemporaryError
from onionmx.files import is_missing, read_regular
from onionmx.mapfile.cdb import MapReader
from onionmx.mapfile.check import check, count_deferring
from onionmx.mapfile.export import stale_exports
from onionmx.mapfile.pins import read_pins
from onionmx.mapfile.write import last_checked
from onionmx.sync.after import why_due
from onionmx.sync.lists.signature import SUFFIX, check_signature
from onionmx.sync.setup import is_shared

MAP = Topic(
    "map",
    "the map can be read and has no mistakes: checksums, v2 left-overs, the way it is built",
    "while the MTA cannot read the map it defers all mail; mail for an entry with a mistake waits until that is fixed",
    essential=True,
)
MAP_AGE = Topic(
    "map-age",
    "sync has looked at the map within doctor.map_max_age",
    "onions change; an old map sends mail to onions that are gone",
)
LOCAL_DOMAINS = Topic(
    "local-domains",
    "no local domain is in the map or pinned to an onion",
    "mail for a local domain would leave this host and come back through Tor, in a loop",
)
PINS = Topic(
    "pins",
    "the file of pins can be read",
    "a mistake in it makes every route unknown, so all mail is deferred",
)
STORE = Topic(
    "store",
    "a store that several hosts share takes nothing from those who do not know its key",
    "anyone who may write to the server could otherwise make routes and pins for all hosts",
)
SIGNED_LISTS = Topic(
    "signed-lists",
    "every file of sync.signers is there, and is signed by one of those who may",
    "a list that is not signed as it must be ends every sync, and one that is named otherwise than in sync.domains is "
    "not looked at",
)
EXPORTS = Topic(
    "exports",
    "the files of map.exports are those of the map, and neither sync.after nor onionmx-map.service failed",
    "an MTA with an old list sends mail for new domains to the open internet",
)
_SHOWN = 5  # mistakes of a map that are named


async def look_at_map(machine: Machine) -> Sequence[Finding]:
    """Read the whole map."""
    local = machine.local_domains()
    return await in_thread(lambda: _look_at_map(machine.configuration, local))


async def look_at_pins(machine: Machine) -> Sequence[Finding]:
    """Read the pins."""
    local = machine.local_domains()
    return await in_thread(lambda: [_judge_pins(machine.configuration.sync.pins, local)])


async def look_at_store(machine: Machine) -> Sequence[Finding]:
    """Look at what the configuration says of the store."""
    return [judge_store(machine.configuration.sync)]


async def look_at_signed_lists(machine: Machine) -> Sequence[Finding]:
    """Check each signature as sync does."""
    signers = machine.configuration.sync.signers
    if not signers:
        return [ok(SIGNED_LISTS.name, "no list has to be signed")]
    return await in_thread(lambda: [_judge_signature(name, signers) for name in signers])


async def look_at_exports(machine: Machine) -> Sequence[Finding]:
    """Compare the exports with the map, and look whether an MTA is still to be told."""
    found = await in_thread(lambda: _judge_exports(machine.configuration))
    if not machine.configuration.map.exports or any(one.severity is not Severity.OK for one in found):
        return found
    return await _look_at_command() or found


async def _look_at_command() -> Sequence[Finding]:
    """Whether the unit that tells the MTA has failed; nothing where there is no systemd, or it says nothing."""
    systemctl = find_command("systemctl")
    try:
        result = await output_of(systemctl, "show", "--property=Result", "--value", COMMAND) if systemctl else ""
    except TemporaryError:
        return []
    if result in {"", "success"}:
        return []
    seen = f"{COMMAND} failed ({result}): the MTA may have an old list"
    return [warning(EXPORTS.name, seen, f"journalctl -u {COMMAND}   # what it said; it is run again every ten seconds")]


def judge_store(settings: SyncSection) -> Finding:
    """Whether a shared store has a key.

    Args:
        settings: that say where it is.
    """
    if not is_shared(settings):
        return ok(STORE.name, "it is a file of this host")
    if settings.store_key_file:
        return ok(STORE.name, "what other hosts write has a MAC")
    fix = "openssl rand -hex 32 > /etc/onionmx/store.key   # mode 0600, the same on each host\n"
    fix += 'onionmx.toml: [sync] store_key_file = "/etc/onionmx/store.key"\n'
    fix += "onionmx sync --seal-store   # once, on one of the hosts, if the store is in use"
    return warning(STORE.name, "sync.store is shared, and sync.store_key_file names no key", fix)


def judge_age(age: float, longest: float) -> Finding:
    """Whether a map is fresh.

    Args:
        age: seconds since it was written or looked at by sync.
        longest: seconds that it may have.
    """
    seen = f"{age / 3600:.1f} h since a sync, {longest / 3600:g} h are allowed"
    if age <= longest:
        return ok(MAP_AGE.name, seen)
    return warning(MAP_AGE.name, seen, "onionmx sync\ncrontab: 17 * * * * onionmx sync --quiet")


def _look_at_map(configuration: Configuration, local: Sequence[str]) -> list[Finding]:
    path = Path(configuration.map.path)
    names = (MAP.name, MAP_AGE.name, LOCAL_DOMAINS.name)
    if is_missing(path):
        if configuration.lookup.live:
            return [ok(MAP.name, f"{path} does not exist; lookup.live asks DNS instead")] + [
                not_checked(name, "there is no map") for name in names[1:]
            ]
        seen = f"{path} does not exist"
        unknown = [not_checked(name, seen, cause=MAP.name) for name in names[1:]]
        return [blocking(problem(MAP.name, seen, "onionmx sync")), *unknown]
    age = judge_age(time.time() - last_checked(path), configuration.doctor.map_max_age)
    try:
        with MapReader(path) as reader:
            reader.check_whole()
            found = [_judge_content(reader), age, _judge_local_domains(reader, local, configuration.sync.pins)]
    except MapError as error:
        found = [_unreadable(path, error), age, not_checked(LOCAL_DOMAINS.name, str(error))]
    return [*found, *_judge_second(configuration.map.transport_path)]


def _judge_content(reader: MapReader) -> Finding:
    mistakes = check(reader)
    first = list(islice(mistakes, _SHOWN))
    if not first:
        deferring = count_deferring(reader)
        waiting = f", {deferring} of them make mail wait: `onionmx explain DOMAIN` tells why" if deferring else ""
        return ok(MAP.name, f"{reader.path}: {len(reader)} entries{waiting}")
    count = len(first) + sum(1 for _ in mistakes)
    more = f" (and {count - len(first)} more)" if count > len(first) else ""
    fix = f"mv {reader.path} {reader.path}.damaged\nonionmx sync"
    return problem(MAP.name, f"{reader.path}: {'; '.join(first)}{more}", fix)


def _judge_second(file: str) -> list[Finding]:
    """Whether the map for Postfix, if there is to be one, can be read."""
    if not file:
        return []
    try:
        with MapReader(file) as reader:
            reader.check_whole()
            return [ok(MAP.name, f"{file}: {len(reader)} entries")]
    except MissingMapError as error:
        return [problem(MAP.name, str(error), "onionmx sync")]
    except MapError as error:
        return [_unreadable(Path(file), error)]


def _unreadable(path: Path, error: MapError) -> Finding:
    if _may_not_read(error):
        return not_checked(MAP.name, str(error), AS_ROOT)
    return problem(MAP.name, str(error), f"mv {path} {path}.damaged\nonionmx sync")


def _may_not_read(error: OnionmxError) -> bool:
    """Whether it is only that the user who looks may not read the file, as another user may well do."""
    return isinstance(error.__cause__, PermissionError)


def _judge_local_domains(reader: MapReader, local: Sequence[str], pins: str) -> Finding:
    if not local:
        return not_checked(
            LOCAL_DOMAINS.name, "local.domains is empty", 'onionmx.toml: [local] domains = ["example.org"]'
        )
    found = [domain for domain in local if reader.get_value(domain) is not None]
    if not found:
        return ok(LOCAL_DOMAINS.name, f"none of {len(local)} local domains is in the map")
    lines = "\n".join(f"{pins}: {domain} none" for domain in found)
    return problem(LOCAL_DOMAINS.name, f"in the map: {', '.join(found)}", f"{lines}\nonionmx sync")


def _judge_pins(file: str, local: Sequence[str]) -> Finding:
    path = Path(file)
    try:
        pins = read_pins(path, may_be_missing=file == SyncSection().pins)
    except ConfigurationError as error:
        if _may_not_read(error):
            return not_checked(PINS.name, str(error), AS_ROOT)
        first, *others = str(error).splitlines()
        seen = f"{first} (and {len(others)} more)" if others else first
        return problem(
            PINS.name, seen, f"touch {path}" if is_missing(path) else f"correct the lines named here in {path}"
        )
    circles = [domain for domain in local if pins.get(domain)]
    if circles:
        lines = "\n".join(f"{path}: {domain} none" for domain in circles)
        return problem(PINS.name, f"local domains are pinned to onions: {', '.join(circles)}", lines, LOCAL_DOMAINS.why)
    return ok(PINS.name, f"{path} does not exist: no pins" if is_missing(path) else f"{path}: {len(pins)} pins")


def _judge_signature(name: str, signers: Mapping[str, str]) -> Finding:
    try:
        content = read_regular(Path(name))
    except FileNotFoundError:
        return warning(
            SIGNED_LISTS.name, f"{name} is not there", "onionmx.toml: [sync.signers] the files by their names"
        )
    except OSError as error:
        return not_checked(SIGNED_LISTS.name, f"{name} cannot be read: {error.strerror}", AS_ROOT)
    try:
        found = check_signature(signers, name, content)
    except ConfigurationError as error:
        if _may_not_read(error):
            return not_checked(SIGNED_LISTS.name, str(error), AS_ROOT)
        fix = f"get {name} and {name}{SUFFIX} from their publisher again, or correct {signers[name]}"
        return problem(SIGNED_LISTS.name, str(error), fix)
    except TemporaryError as error:
        return not_checked(SIGNED_LISTS.name, str(error))
    return ok(SIGNED_LISTS.name, f"{name}: signed by {found.signer if found else 'nobody'}")


def _judge_exports(configuration: Configuration) -> list[Finding]:
    settings, command = configuration.map, configuration.sync.after
    if not (settings.exports or command):
        return [ok(EXPORTS.name, "no list is made of the map")]
    stale = []
    why: str | None = None
    try:
        if settings.exports:
            with MapReader(settings.path) as reader:
                stale = stale_exports(dict(reader.entries()), settings.exports)
        if command:
            why = why_due(Path(settings.path))
    except (MapError, ConfigurationError) as error:
        fix = AS_ROOT if _may_not_read(error) else ""
        return [not_checked(EXPORTS.name, str(error), fix, MAP.name if isinstance(error, MapError) else "")]
    if stale:
        files = ", ".join(str(path) for path, _ in stale)
        return [warning(EXPORTS.name, f"not as the map says: {files}", "onionmx sync")]
    if why is not None:
        seen = f"sync.after failed: {why}" if why else "sync.after has not run since the last change"
        return [warning(EXPORTS.name, seen, "onionmx sync   # runs it again")]
    return [ok(EXPORTS.name, f"{len(settings.exports)} lists, as the map says")]


CHECKS = (
    Check((MAP, MAP_AGE, LOCAL_DOMAINS), look_at_map),
    Check((PINS,), look_at_pins),
    Check((STORE,), look_at_store),
    Check((SIGNED_LISTS,), look_at_signed_lists),
    Check((EXPORTS,), look_at_exports),
)
