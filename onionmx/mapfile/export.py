"""Plain files made of the map for MTAs that cannot read it: a line for each domain, by a template."""

import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from onionmx.config import Export
from onionmx.config.export import Labels, parse_template
from onionmx.domain import Domain, normalize, shown
from onionmx.errors import DomainError, MapError
from onionmx.files import read_regular, replacing
from onionmx.mapfile.cdb import format_value
from onionmx.mapfile.entries import Entries
from onionmx.mapfile.transport import keys_of
from onionmx.mapfile.write import MODE
from onionmx.onion import Endpoint

Content = tuple[Path, bytes]
"""A file, and what belongs in it."""


def format_export(entries: Entries, export: Export) -> str:
    """Write the lines in alphabetical order of the domains, the one for all names under .onion at the end.

    A domain whose mail has to wait (`DEFERS`) has its line too: without it, its mail would take the open internet.

    Raises:
        MapError: a key is not a domain in normal form, which alone is known to break no line.
    """
    return "".join(f"{line}\n" for line in _lines(entries, export))


def stale_exports(entries: Entries, exports: Sequence[Export]) -> list[Content]:
    """The exports whose files are not what follows from the map.

    Raises:
        MapError: as `format_export` does.
    """
    wanted = ((Path(export.path), format_export(entries, export).encode()) for export in exports)
    return [(path, content) for path, content in wanted if not _has(path, content)]


def write_exports(contents: Sequence[Content]) -> None:
    """Replace files by what belongs in them.

    Raises:
        MapError: one could not be written; its old file stays.
    """
    for path, content in contents:
        try:
            with replacing(path, MODE) as file:
                file.write(content)
        except OSError as error:
            raise MapError(f"map.exports: {path} cannot be written: {error.strerror}; the old one stays") from error


def _lines(entries: Entries, export: Export) -> Iterator[str]:
    template = parse_template(export.template)
    has_targets = template.fields != {"domain"}
    for domain in sorted(entries):
        _check_normal(domain)
        values = _targets(entries[domain]) if has_targets else {}
        for name in _names(domain, export.labels):
            yield template.fill({**values, "domain": name})
    if export.under_onion:
        yield template.fill({"domain": export.under_onion})


def _targets(endpoints: Sequence[Endpoint]) -> dict[str, str]:
    onion, port = endpoints[0]
    return {"onion": onion, "port": str(port), "targets": format_value(endpoints).decode()}


def _check_normal(domain: str) -> None:
    """Another program may have written the map."""
    with suppress(DomainError):
        if normalize(domain) == domain:
            return
    raise MapError(
        f"the map has an entry for {shown(domain)}, which is not a domain: move it away and run `onionmx sync`"
    )


def _names(domain: Domain, labels: Labels) -> Sequence[str]:
    """A domain as the file has it; with A-labels where its U-labels could be taken for another domain (`keys_of`)."""
    match labels:
        case "ascii":
            return (domain,)
        case "unicode":
            return keys_of(domain)[-1:]
        case "both":
            return keys_of(domain)


def _has(path: Path, content: bytes) -> bool:
    try:
        status = path.lstat()
        is_ours = stat.S_ISREG(status.st_mode) and stat.S_IMODE(status.st_mode) == MODE
        return is_ours and status.st_size == len(content) and read_regular(path) == content
    except OSError:
        return False
