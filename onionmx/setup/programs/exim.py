"""Exim's part: the fragments, the macros they need here, the address that Exim listens on; texts only.

Debian's Exim is configured in one of two ways: split, a folder of files, or not, one template. Where both say the same,
as after the installation, setup turns to split, as exim/README.md does; else it puts each fragment into the template.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from onionmx.errors import ConfigurationError
from onionmx.setup.programs.blocks import replaced, split
from onionmx.setup.programs.exim_template import inserted_fragments, says_the_same
from onionmx.setup.programs.wishes import SetupOptions

FOLDER = "/etc/exim4"
CONFD = f"{FOLDER}/conf.d"
SETTINGS = f"{FOLDER}/update-exim4.conf.conf"
TEMPLATE = f"{FOLDER}/exim4.conf.template"
LOCAL_MACROS = f"{FOLDER}/exim4.conf.localmacros"
BY_HAND = f"{FOLDER}/exim4.conf"
PROGRAM = "/usr/sbin/exim4"
LOG = "/var/log/exim4/mainlog"
MACROS = "main/000_onionmx_setup"
"""After 000_localmacros, which therefore wins, and before the fragments."""
RECEIVING = ("main/00_onionmx_receiving", "acl/35_onionmx_check_rcpt")
_BASE, _RELAY, _READSOCKET = "exim/conf.d", "exim/relay/conf.d", "exim/readsocket/conf.d"
SHIPPED = (_BASE, _RELAY, _READSOCKET)
"""Folders of fragments that come with onionmx."""

_BETWEEN_COLONS = re.compile(r"(?:[^:]|::)+")
DEFAULTS = {
    "ONIONMX_HELPER": "/usr/bin/onionmx-route",
    "ONIONMX_MAP": "/var/lib/onionmx/onionmx.cdb",
    "ONIONMX_DNSPORT": "127.0.0.1:530",
    "ONIONMX_SOCKS": "127.0.0.1 port=9050",
    "ONIONMX_LISTEN_ADDRESS": "127.0.0.2",
    "ONIONMX_RELAY_ADDRESS": "127.0.0.1",
    "ONIONMX_RELAY_PORT": "10026",
    "ONIONMX_READSOCKET": "inet:127.0.0.1:10029",
}
"""What the fragments say themselves."""


def fragments(shipped: Mapping[str, bytes], wishes: SetupOptions) -> dict[str, bytes]:
    """The fragments for what is wished, by section and name, such as `router/190_onionmx`.

    Args:
        shipped: all files in `SHIPPED`.
    """
    base = _below(shipped, _BASE)
    result = {name: base[name] for name in RECEIVING} if wishes.receive else {}
    if wishes.send:
        sending = {name: content for name, content in base.items() if name not in RECEIVING}
        if wishes.exim == "relay":
            sending = _below(shipped, _RELAY)
        elif wishes.exim == "readsocket":
            sending |= _below(shipped, _READSOCKET)
        result |= sending
    return result


def _below(shipped: Mapping[str, bytes], folder: str) -> dict[str, bytes]:
    paths = ((PurePosixPath(name), content) for name, content in shipped.items())
    return {str(path.relative_to(folder)): content for path, content in paths if path.is_relative_to(folder)}


def in_order(names: Iterable[str]) -> list[str]:
    """Fragments in the order in which they are written: whenever Exim starts in between, it has what they name.

    So the router comes after its transport, and what leads clients to the access list after that list.
    """
    last = ("router/190_onionmx", RECEIVING[0])
    return sorted(
        names, key=lambda name: (last.index(name) if name in last else -1, not name.startswith("main/"), name)
    )


def macros(values: Mapping[str, str]) -> str:
    """The file with macros whose default does not fit here; empty where all fit.

    Args:
        values: macros and what they have to be.
    """
    lines = ["# Written by onionmx setup. A macro of the same name in 000_localmacros wins.\n"]
    for name, value in values.items():
        if value != DEFAULTS[name]:
            lines.append(f".ifndef {name}\n{name} = {value}\n.endif\n")
    return "".join(lines) if len(lines) > 1 else ""


def is_split(settings: str) -> bool:
    """Whether Exim's configuration is split."""
    return _value(settings, "dc_use_split_config").lower() == "true"


def files(
    settings: str, confd: Mapping[str, str], template: str, local_macros: str, ours: Mapping[str, bytes]
) -> tuple[dict[str, bytes], str, str]:
    """Where the fragments go.

    Args:
        settings: text of update-exim4.conf.conf, without our blocks.
        confd: texts of the files in conf.d, by section and name, those of ours left out.
        template: text of exim4.conf.template, without our blocks.
        local_macros: text of exim4.conf.localmacros; empty where there is none.
        ours: fragments and macros by section and name.

    Returns:
        Whole files by section and name, the settings, and the template.

    Raises:
        ConfigurationError: the template has no place for them.
    """
    if is_split(settings):
        return dict(ours), settings, template
    if says_the_same(confd, local_macros + template):
        return dict(ours), set_value(settings, "dc_use_split_config", "true"), template
    return {}, settings, inserted_fragments(template, {name: body.decode("latin-1") for name, body in ours.items()})


def with_interface(settings: str, host: str, port: int) -> str:
    """The settings with an address among those that Exim listens on; none at all means every address."""
    value = _value(settings, "dc_local_interfaces")
    shown = host if port == 25 else f"{host}.{port}"  # noqa: PLR2004 -- what Exim takes where no port is written
    items = _items(value)
    if (not items and port == 25) or shown in items or (port == 25 and "0.0.0.0" in items):  # noqa: PLR2004, S104
        return settings
    if not items:
        raise ConfigurationError(
            f"{SETTINGS}: dc_local_interfaces is empty, and Exim does not listen on port {port}: name all addresses"
        )
    return set_value(settings, "dc_local_interfaces", " ; ".join([*items, shown]))


def _items(value: str) -> list[str]:
    """The items of a list as update-exim4.conf takes it.

    They are separated by semicolons, or by colons, and then a colon within an item is doubled.
    """
    if ";" in value:
        items = value.removeprefix("<;").split(";")
    else:
        items = [item.replace("::", ":") for item in _BETWEEN_COLONS.findall(value)]
    return [item.strip() for item in items if item.strip()]


def set_value(settings: str, name: str, value: str) -> str:
    """The settings with a variable changed; the line that was there is kept in our block.

    Raises:
        ConfigurationError: the variable is not there, or is written in a way that is not Debian's.
    """
    lines = split(settings)
    places = [number for number, line in enumerate(lines) if re.match(rf"\s*{name}=", line)]
    if not places or "'" in value:
        raise ConfigurationError(f"{SETTINGS} has no line {name}='...': run dpkg-reconfigure exim4-config")
    return replaced(settings, places[-1], places[-1] + 1, f"{name}='{value}'\n")


def _value(settings: str, name: str) -> str:
    """What a variable says, as the shell that reads the file sees it in Debian's way of writing it."""
    found = re.findall(rf"^\s*{name}=(?:'([^'\n]*)'|\"([^\"\n]*)\"|([^\s'\"]*))", settings, re.MULTILINE)
    return "".join(found[-1]) if found else ""
