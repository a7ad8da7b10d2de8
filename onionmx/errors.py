"""The exception tree and the exit codes that go with it.

    OnionmxError
    ├── InputError (ValueError)       a value that somebody wrote cannot be used
    │   ├── OnionError                not a v3 onion address, or an impossible port
    │   └── DomainError               not a mail domain
    ├── UsageError                    the command line asks for something impossible
    ├── ConfigurationError            configuration, pins or domain lists are wrong
    │   └── UpdateRefusedError        the primary name server does not take updates from us
    └── TemporaryError                could not tell; asking again later may help
        ├── MapError                  the map is missing, unreadable or damaged
        │   └── MissingMapError       there is no such file
        ├── LockedError               another writer is at work on the same map or state
        ├── StateError                what sync remembers cannot be read or written
        ├── DnsError                  DNS gave no answer that can be trusted
        ├── UpdateError               the primary name server could not be asked, or did not say what it did
        ├── OwnerError                a port is not, or not surely, that of whom it should be
        ├── HostError                 a host that the configuration names has no address that may be used
        ├── ControlError              Tor's control port cannot be asked, or tor refused
        └── AutomapError              Tor's DNSPort gave no usable address

This module and the other leaves import next to nothing: the helper that Exim runs for each message loads them.
"""

import os

EXIT_FOUND = os.EX_OK
EXIT_NO_ROUTE = 1
EXIT_CLEARNET = 3  # of the self-test: the message did not go over an onion
EXIT_USAGE = os.EX_USAGE  # 64
EXIT_REFUSED = os.EX_NOHOST  # 68: of the helper, mail is to be refused for good
EXIT_TEMPORARY = os.EX_TEMPFAIL  # 75: could not tell, or could not resolve
EXIT_CONFIGURATION = os.EX_CONFIG  # 78


class OnionmxError(Exception):
    """Base of all errors that onionmx raises on purpose; the text is one line for an operator."""

    exit_code = EXIT_TEMPORARY


class InputError(OnionmxError, ValueError):
    """A value from a file, a command line or the network cannot be used; says what would be right."""

    exit_code = EXIT_USAGE


class OnionError(InputError):
    """Not a version 3 onion address, or not a port."""


class DomainError(InputError):
    """Not a mail domain."""


class UsageError(OnionmxError):
    """The command line asks for something impossible."""

    exit_code = EXIT_USAGE


class ConfigurationError(OnionmxError):
    """Configuration, pins or domain lists are wrong; nothing was changed."""

    exit_code = EXIT_CONFIGURATION


class UpdateRefusedError(ConfigurationError):
    """The primary name server refuses the key or the update: one of the two is set up wrongly."""


class TemporaryError(OnionmxError):
    """The answer could not be found out."""


class MapError(TemporaryError):
    """The map is missing, unreadable or damaged."""


class MissingMapError(MapError):
    """There is no map at this path; one that may not be looked at is no missing one."""


class LockedError(TemporaryError):
    """Another writer holds the lock of the map, or of the state of sync."""


class StateError(TemporaryError):
    """What sync remembers cannot be read or written; the map stays as it is."""


class DnsError(TemporaryError):
    """DNS gave no answer that can be trusted."""


class UpdateError(TemporaryError):
    """The primary name server could not be asked, or it is not known what it did."""


class OwnerError(TemporaryError):
    """Somebody else listens at a port of this machine, or it cannot be told who does; nothing was said there."""


class HostError(TemporaryError):
    """A host that the configuration names could not be found, or has no address that may be used."""


class ControlError(TemporaryError):
    """Tor's control port cannot be asked, or tor did not do what it was asked for."""


class AutomapError(TemporaryError):
    """Tor's DNSPort gave no usable address."""
