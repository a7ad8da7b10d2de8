"""onionmx's own part: the drop-in of its configuration, and its units; texts only."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from onionmx.config import UNIX, Configuration, RelaySection, parse_socket
from onionmx.config.export import DOMAIN_ALONE, Export
from onionmx.credential import name_secret
from onionmx.defaults import CONFIGURATION_DIRECTORY
from onionmx.setup.programs import exim, opensmtpd, postfix
from onionmx.setup.programs.tor import TorPorts
from onionmx.setup.programs.wishes import SetupOptions

FILE = f"{CONFIGURATION_DIRECTORY}/onionmx.toml"
FOLDER = f"{FILE}.d"
DROP_IN = f"{FOLDER}/50-setup.toml"
RELAY, RELAY_SOCKET, TIMER, SYNC, SERVE, SERVE_SOCKET, WATCH, MAP_PATH, MAP = (
    "onionmx-relay.service",
    "onionmx-relay.socket",
    "onionmx-sync.timer",
    "onionmx-sync.service",
    "onionmx-serve.service",
    "onionmx-serve.socket",
    "onionmx-watch.service",
    "onionmx-map.path",
    "onionmx-map.service",
)
UNITS = (RELAY, RELAY_SOCKET, TIMER, SYNC, SERVE, SERVE_SOCKET, WATCH, MAP_PATH, MAP)
USERS = "onionmx-sysusers.conf"
"""The user of sync and the group of the relay, where no package has made them (sysusers.d(5))."""
FOLDERS = "onionmx-tmpfiles.conf"
"""The folder of released domains, where no package has made it (tmpfiles.d(5))."""
UNIT_FOLDERS = ("/usr/lib/systemd/system", "/lib/systemd/system", "/usr/local/lib/systemd/system")
"""Where packages have their units; in these setup writes nothing."""
OWN_UNITS = "/etc/systemd/system"
PACKAGED_PROGRAM = "/usr/bin/onionmx"
_DEFAULT_RELAY = "127.0.0.1:10026"
_DEFAULT_SMTP_RELAY = "127.0.0.1:10025"
MAP_COMMAND = f"{OWN_UNITS}/{MAP}.d/50-setup.conf"
"""The drop-in with the command that tells the MTA of a map that has changed (systemd.unit(5))."""
_HEAD = """\
# Written by onionmx setup, which writes it anew and takes it away again: put your own settings into onionmx.toml, or
# into a file here with a later name.
"""
_HEAD_OF_UNIT = "# Written by onionmx setup, which takes it away again: a file here with a later name wins.\n"


def relay_address(configuration: Configuration) -> str:
    """Where the relay takes LMTP by TCP, as IP:PORT."""
    return next((one for one in configuration.relay.lmtp_listen if not one.startswith(UNIX)), _DEFAULT_RELAY)


def smtp_relay_address(configuration: Configuration) -> str:
    """Where the relay takes SMTP by TCP, as IP:PORT."""
    return next((one for one in configuration.relay.smtp_listen if not one.startswith(UNIX)), _DEFAULT_SMTP_RELAY)


def list_path(configuration: Configuration) -> str:
    """The list of domains for OpenSMTPD: one of `map.exports` that will do, or one of our own."""
    return next((export.path for export in configuration.map.exports if _is_fitting(export)), opensmtpd.LIST)


def _is_fitting(export: Export) -> bool:
    """Whether it has each domain as in mail, one a line, and is never empty."""
    return export.template == DOMAIN_ALONE and export.labels != "unicode" and bool(export.under_onion)


def _exports(configuration: Configuration) -> tuple[Export, ...]:
    exports = configuration.map.exports
    if any(map(_is_fitting, exports)):
        return exports
    return (*exports, Export(path=opensmtpd.LIST, under_onion=opensmtpd.UNDER_ONION))


def map_command() -> str:
    """The drop-in for the unit that runs when the map has changed."""
    return f"{_HEAD_OF_UNIT}[Service]\nGroup={opensmtpd.GROUP}\nExecStart=\nExecStart={' '.join(opensmtpd.UPDATE)}\n"


def transport_result(configuration: Configuration) -> str:
    """What Postfix is told of a domain with a route."""
    return f"{postfix.TRANSPORT}:inet:{relay_address(configuration)}"


def table_path(configuration: Configuration) -> str:
    """The CDB for Postfix."""
    return configuration.map.transport_path or f"{postfix.TABLE}.cdb"


def local_domains(configuration: Configuration, wishes: SetupOptions) -> tuple[str, ...]:
    """The mail domains of this host: those that are configured, and those that are wished."""
    return tuple(dict.fromkeys((*configuration.local.domains, *wishes.domains)))


def drop_in(configuration: Configuration, wishes: SetupOptions, ports: TorPorts, logs: Sequence[str]) -> str:
    """The settings that differ from what is configured.

    Args:
        configuration: in effect without our drop-in.
        logs: of the MTA, as patterns; where they are to be read.
    """
    result = transport_result(configuration)
    table = wishes.send and wishes.mta == "postfix" and wishes.postfix == "table"
    socketmap = wishes.uses_serve and wishes.mta == "postfix"
    wanted: dict[str, dict[str, Any]] = {
        "local": {"domains": local_domains(configuration, wishes)},
        "map": {"transport_path": table_path(configuration), "transport_result": result} if table else {},
        "sync": domains_of_sync(configuration, wishes, logs) if wishes.send else {},
        "tor": {"socks": ports.relay_socks, **({"dnsport": ports.dnsport} if ports.dnsport else {})},
        "onion": _onion(ports),
        "publish": {"server": wishes.publish_to} if wishes.publish_to else {},
        "serve": {"result": result} if socketmap else {},
    }
    if wishes.tsig_file:
        wanted["publish"]["tsig_file"] = name_secret(wishes.tsig_file)
    if wishes.uses_list:
        wanted["map"]["exports"] = _exports(configuration)
    text = _HEAD
    for name, keys in wanted.items():
        section = getattr(configuration, name)
        lines = [
            f"{key} = {_toml(msgspec.to_builtins(value))}\n"
            for key, value in keys.items()
            if getattr(section, key) != value
        ]
        if lines:
            text += f"\n[{name}]\n{''.join(lines)}"
    return text


def domains_of_sync(
    configuration: Configuration, wishes: SetupOptions, logs: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """Where sync takes domains from: keys and values of its section; empty where there is nothing.

    Args:
        configuration: in effect without our drop-in.
        logs: of the MTA, as patterns.
    """
    lists = tuple(dict.fromkeys((*configuration.sync.domains, *wishes.lists)))
    reads_logs = wishes.logs if wishes.logs is not None else not lists
    chosen = (configuration.sync.logs or tuple(logs)) if reads_logs else ()
    return {key: value for key, value in (("domains", lists), ("logs", chosen)) if value}


def _onion(ports: TorPorts) -> dict[str, str]:
    if ports.forward is None:
        return {}
    return {"directory": ports.directory, "forward": ports.forward.target}


def _toml(value: Any) -> str:  # noqa: ANN401 -- anything that the schema has
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key} = {_toml(each)}' for key, each in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return msgspec.json.encode(value).decode()  # JSON's strings and numbers are TOML's too


def units(configuration: Configuration, wishes: SetupOptions) -> tuple[str, ...]:
    """The units that have to run, in the order in which they are started.

    Args:
        configuration: in effect without our drop-in.
    """
    wanted = []
    if wishes.uses_relay:
        relay, usual = configuration.relay, RelaySection()
        if (relay.smtp_listen, relay.lmtp_listen) == (usual.smtp_listen, usual.lmtp_listen):
            wanted.append(RELAY_SOCKET)  # which has those addresses
        wanted.append(RELAY)
    if wishes.uses_serve:
        wanted += [SERVE_SOCKET, SERVE]
    if wishes.send:
        wanted.append(TIMER)
    if wishes.uses_list:
        wanted.append(MAP_PATH)
    if wishes.receive:
        wanted.append(WATCH)
    return tuple(wanted)


def unit_files(wanted: Sequence[str], shipped: Mapping[str, bytes], program: str) -> dict[str, bytes]:
    """The unit files for an installation that brings none, by path.

    Args:
        wanted: units of `units`.
        shipped: unit files by name.
        program: command that runs onionmx, instead of `PACKAGED_PROGRAM`.
    """
    names = [*wanted, *([SYNC] if TIMER in wanted else []), *([MAP] if MAP_PATH in wanted else [])]
    start = b"ExecStart="
    return {
        f"{OWN_UNITS}/{name}": shipped[name].replace(start + PACKAGED_PROGRAM.encode(), start + program.encode())
        for name in names
    }


def macros(configuration: Configuration, wishes: SetupOptions, ports: TorPorts, helper: str) -> dict[str, str]:
    """What Exim's fragments have to know of this host, by macro."""
    values: dict[str, str] = {}
    if wishes.receive and ports.forward is not None:
        values["ONIONMX_LISTEN_ADDRESS"] = ports.forward.target_host
    if not wishes.send:
        return values
    relay_host, relay_port = parse_socket(relay_address(configuration))
    if wishes.exim != "readsocket":
        values["ONIONMX_MAP"] = configuration.map.path
    if wishes.exim == "relay":
        return values | {"ONIONMX_RELAY_ADDRESS": relay_host, "ONIONMX_RELAY_PORT": str(relay_port)}
    host, port = parse_socket(ports.exim_socks)
    values["ONIONMX_SOCKS"] = f"{host} port={port}"
    if wishes.exim == "helper":
        values |= {"ONIONMX_HELPER": helper, "ONIONMX_DNSPORT": ports.dnsport}
    else:
        address = (
            configuration.serve.readsocket_listen[0] if configuration.serve.readsocket_listen else "127.0.0.1:10029"
        )
        values["ONIONMX_READSOCKET"] = address.removeprefix(UNIX) if address.startswith(UNIX) else f"inet:{address}"
    return values


def mta_macros(configuration: Configuration, wishes: SetupOptions, ports: TorPorts, helper: str) -> str:
    """The file of macros for Exim; empty where the fragments' own defaults fit."""
    return exim.macros(macros(configuration, wishes, ports, helper))
