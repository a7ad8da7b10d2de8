"""The reference of the configuration, docs/configuration.md, made from the schema.

python3 -m deploy.debian.reference > docs/configuration.md
"""

import sys
import textwrap

import msgspec

from onionmx.config import Configuration, MapSection, RelaySection, ServeSection
from onionmx.config.file import DEFAULT_FILE, ENVIRONMENT_VARIABLE, described_fields
from onionmx.config.section import Section
from onionmx.defaults import MAP_PATH, STATE_DIRECTORY

ABOUT = (
    f"`{DEFAULT_FILE}`, or the file that `--config` or `{ENVIRONMENT_VARIABLE}` names, is TOML. Every key has a "
    "default, which is shown here, and the file may be missing. Unknown keys, wrong types and impossible values "
    f"are refused. Then come the files `{DEFAULT_FILE.name}.d/*.toml` beside it, by name; each key in them "
    "replaces the one before. `onionmx config` prints the configuration in effect."
)

_SOURCE = "<!-- Made by `python3 -m deploy.debian.reference` of the descriptions in onionmx/config/. -->"
_WIDTH = 100


def system_defaults() -> Configuration:
    """The defaults as the units see them, no matter which user asks."""
    serve = ServeSection(control="/run/onionmx/serve.sock", cache_path=f"{STATE_DIRECTORY}-serve/cache")
    relay = RelaySection(control="/run/onionmx-relay/relay.sock")
    return Configuration(map=MapSection(path=MAP_PATH), relay=relay, serve=serve)


def default(values: Section, key: str) -> str:
    """The default of a key, as it is written in the file."""
    return msgspec.json.encode(getattr(values, key)).decode()


def reference(defaults: Configuration) -> str:
    """The whole page.

    Args:
        defaults: the configuration whose values are called the defaults.
    """
    tables = [_table(field.name, getattr(defaults, field.name)) for field in msgspec.structs.fields(Configuration)]
    return "\n\n".join(["# Configuration", _SOURCE, _wrapped(ABOUT), *tables]) + "\n"


def _table(name: str, values: Section) -> str:
    rows = (
        f"| `{key}` | `{_cell(default(values, key))}` | {_cell(description)} |"
        for key, description in described_fields(type(values))
    )
    return "\n".join(
        (f"## [{name}]", "", _wrapped(values.__doc__ or ""), "", "| key | default | meaning |", "|---|---|---|", *rows)
    )


def _wrapped(prose: str) -> str:
    return textwrap.fill(" ".join(prose.split()), _WIDTH, break_long_words=False, break_on_hyphens=False)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    sys.stdout.write(reference(system_defaults()))
