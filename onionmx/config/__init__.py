"""The configuration: one typed schema, each field with its meaning, unit and default.

Read from `/etc/onionmx/onionmx.toml`, from the file that `--config` or `ONIONMX_CONFIG` names, or, with no file at
all, from the defaults. Drop-ins in `FILE.d/*.toml` come over it, key by key. `onionmx config` prints it.
"""

from onionmx.config.address import UNIX, Address, parse_address, parse_nameserver, parse_server, parse_socket
from onionmx.config.authenticate import AuthenticateSection
from onionmx.config.export import Export
from onionmx.config.fallback import FallbackSection
from onionmx.config.file import Configuration
from onionmx.config.guard import GuardSection
from onionmx.config.log import LogSection
from onionmx.config.lookup import LookupSection, ServeSection
from onionmx.config.relay import RelaySection
from onionmx.config.resolver import Resolver, parse_resolver
from onionmx.config.routes import SYSTEM_PORT, DnsSection, LocalSection, MapSection
from onionmx.config.sync import SyncSection
from onionmx.config.tor import DoctorSection, OnionSection, PublishSection, TorSection
from onionmx.config.watch import WatchSection

__all__ = [
    "SYSTEM_PORT",
    "UNIX",
    "Address",
    "AuthenticateSection",
    "Configuration",
    "DnsSection",
    "DoctorSection",
    "Export",
    "FallbackSection",
    "GuardSection",
    "LocalSection",
    "LogSection",
    "LookupSection",
    "MapSection",
    "OnionSection",
    "PublishSection",
    "RelaySection",
    "Resolver",
    "ServeSection",
    "SyncSection",
    "TorSection",
    "WatchSection",
    "parse_address",
    "parse_nameserver",
    "parse_resolver",
    "parse_server",
    "parse_socket",
]
