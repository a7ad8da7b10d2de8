"""The configuration file and its drop-ins: where they are, how they are read and printed."""

import os
import textwrap
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any, Self

import msgspec

from onionmx.config.address import UNIX
from onionmx.config.authenticate import AuthenticateSection
from onionmx.config.drop_in import Part, merged, parse_part, read_drop_ins, read_part
from onionmx.config.export import BOUNCES
from onionmx.config.fallback import FallbackSection
from onionmx.config.guard import GuardSection
from onionmx.config.log import LogSection
from onionmx.config.lookup import LookupSection, ServeSection
from onionmx.config.relay import RelaySection
from onionmx.config.routes import DnsSection, LocalSection, MapSection
from onionmx.config.section import Section
from onionmx.config.sync import SyncSection
from onionmx.config.tor import DoctorSection, OnionSection, PublishSection, TorSection
from onionmx.config.watch import WatchSection
from onionmx.defaults import CONFIGURATION_DIRECTORY
from onionmx.errors import ConfigurationError

DEFAULT_FILE = Path(CONFIGURATION_DIRECTORY, "onionmx.toml")
ENVIRONMENT_VARIABLE = "ONIONMX_CONFIG"
LINE_LENGTH = 100  # of what is printed


class Configuration(Section, frozen=True):
    """The whole configuration."""

    local: LocalSection = LocalSection()
    map: MapSection = msgspec.field(default_factory=MapSection)
    dns: DnsSection = DnsSection()
    sync: SyncSection = SyncSection()
    authenticate: AuthenticateSection = AuthenticateSection()
    tor: TorSection = TorSection()
    onion: OnionSection = OnionSection()
    watch: WatchSection = WatchSection()
    publish: PublishSection = PublishSection()
    lookup: LookupSection = LookupSection()
    relay: RelaySection = RelaySection()
    fallback: FallbackSection = FallbackSection()
    serve: ServeSection = msgspec.field(default_factory=ServeSection)
    guard: GuardSection = GuardSection()
    doctor: DoctorSection = DoctorSection()
    log: LogSection = LogSection()

    def __post_init__(self) -> None:
        """Refuse an export in the place of a file that another setting names, and one whose mail would bounce."""
        if self.map.exports and self.relay.unrouted == "reject":
            raise ValueError(f"map.exports: {BOUNCES}")
        files = {PurePath(export.path) for export in self.map.exports}
        for table in msgspec.structs.fields(self) if files else ():
            for key, value in msgspec.structs.asdict(getattr(self, table.name)).items():
                if key == "after":  # a command may well name the file that it is to read
                    continue
                for each in value if isinstance(value, tuple) else (value,):
                    if isinstance(each, str) and PurePath(each.removeprefix(UNIX)) in files:
                        raise ValueError(f"map.exports: {each} is {table.name}.{key} too: choose another path")

    @classmethod
    def load(cls, file: Path | None = None) -> Self:
        """Read the configuration, with the drop-ins in `FILE.d`.

        Args:
            file: must exist; `None` for `ONIONMX_CONFIG`, the default file, or the defaults.

        Raises:
            ConfigurationError: unreadable, not TOML, an unknown key, a wrong type or an impossible value.
        """
        if file is None and (named := os.environ.get(ENVIRONMENT_VARIABLE)):
            file = Path(named)
        part = read_part(file or DEFAULT_FILE)
        if part is None and file is not None:
            raise ConfigurationError(f"configuration {file} does not exist")
        return cls.from_parts([*([part] if part else []), *read_drop_ins(file or DEFAULT_FILE)])

    @classmethod
    def parse(cls, content: bytes, name: str) -> Self:
        """Read the configuration from TOML.

        Args:
            name: its name, for messages.

        Raises:
            ConfigurationError: not TOML, an unknown key, a wrong type or an impossible value.
        """
        return cls.from_parts([(name, parse_part(content, name))])

    @classmethod
    def from_parts(cls, parts: Sequence[Part]) -> Self:
        """Read the configuration from its file and the drop-ins.

        Args:
            parts: in their order; later ones win, key by key.

        Raises:
            ConfigurationError: an unknown key, a wrong type or an impossible value, with the file that has it.
        """
        try:
            return msgspec.convert(merged(parts), cls)
        except msgspec.ValidationError:
            # Together they are wrong: the first part that cannot be added to those before it is named.
            for number, (name, _) in enumerate(parts, 1):
                cls._check(merged(parts[:number]), name)
            raise

    @classmethod
    def _check(cls, tables: dict[str, Any], name: str) -> None:
        try:
            msgspec.convert(tables, cls)
        except msgspec.ValidationError as error:
            what, _, where = str(error).partition(" - at `$.")
            key = f"{where.rstrip('`')}: " if where else ""
            raise ConfigurationError(f"configuration {name}: {key}{what}") from error

    def to_toml(self, *, is_commented: bool = False) -> str:
        """The effective configuration as a file in which every field is explained.

        Args:
            is_commented: every field is commented out, as `#key = value`; its explanation begins with `# `.
        """
        tables = []
        for field in msgspec.structs.fields(self):
            section: Section = getattr(self, field.name)
            heading = _comment(section.__doc__ or "")
            tables.append(f"{heading}[{field.name}]\n" + _format_section(section, "#" if is_commented else ""))
        return "\n".join(tables)


def _format_section(section: Section, before_key: str) -> str:
    return "".join(
        f"{_comment(description)}{before_key}{name} = {_format_value(getattr(section, name))}\n"
        for name, description in described_fields(type(section))
    )


def described_fields(section: type[Section]) -> list[tuple[str, str]]:
    """Name and description of each field of a table, in the order of the schema."""
    described = msgspec.json.schema(section)["$defs"][section.__name__]["properties"]
    return [(field.name, described[field.name]["description"]) for field in msgspec.structs.fields(section)]


def _comment(words: str) -> str:
    lines = textwrap.wrap(words, LINE_LENGTH - len("# "), break_long_words=False, break_on_hyphens=False)
    return "".join(f"# {line}\n" for line in lines)


def _format_value(value: object) -> str:
    if isinstance(value, msgspec.Struct):
        pairs = [f"{key} = {_format_value(each)}" for key, each in msgspec.structs.asdict(value).items()]
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_format_value(key)} = {_format_value(each)}" for key, each in value.items()) + "}"
    if isinstance(value, tuple) and any(isinstance(each, msgspec.Struct) for each in value):
        return f"[{', '.join(map(_format_value, value))}]"
    # JSON's numbers, strings, booleans and lists are TOML's too.
    return msgspec.json.encode(value).decode()
