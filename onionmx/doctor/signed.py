"""Domains whose route was signed when it was taken, read by the user who owns the state, not by root."""

import os
from pathlib import Path

import msgspec

from onionmx.config import Configuration
from onionmx.doctor.as_owner import answer_as_owner, ask_as_owner
from onionmx.errors import TemporaryError
from onionmx.sync.setup import is_shared, opened_store, store_setting
from onionmx.target import Trust

_TIMEOUT = 20.0  # seconds


def signed_routes(configuration: Configuration) -> list[str]:
    """The domains in alphabetical order; none where there is no state.

    Raises:
        OnionmxError: the state cannot be read.
    """
    if is_shared(configuration.sync):
        return _read(configuration)
    path = Path(store_setting(configuration)).parent
    try:
        folder = path.stat()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise TemporaryError(f"{path} cannot be looked at: {error.strerror}") from error
    if os.geteuid() != 0 or folder.st_uid == 0:
        return _read(configuration)
    return msgspec.json.decode(ask_as_owner(__name__, configuration, folder, _TIMEOUT), type=list[str])


def _read(configuration: Configuration) -> list[str]:
    with opened_store(configuration, to_write=False) as store:
        return [
            record.domain
            for record in store.routed()
            if record.established is not None and record.established.trust is Trust.DNSSEC
        ]


if __name__ == "__main__":
    answer_as_owner(_read)
