"""Making services anew; with a real tor in tests/e2e/test_onion_control.py and test_watch.py."""

from pathlib import Path
from typing import Any, cast

import pytest

from onionmx.errors import ConfigurationError
from onionmx.tor.service.identity import format_secret_key
from onionmx.tor.service.over_control import add_again
from tests.onions import V3_ONION

NOBODY_IS_ASKED = cast("Any", None)
"""In the place of tor's control port, until the service is added."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As `create_over_control` leaves it."""
    key = tmp_path / "hs_ed25519_secret_key"
    key.write_bytes(format_secret_key(bytes(64)))
    key.chmod(0o600)
    (tmp_path / "hostname").write_text(f"{V3_ONION}\n")
    (tmp_path / "over-control").write_text(f"HiddenServiceDir {tmp_path}\nHiddenServicePort 25 127.0.0.1:25\n")
    return tmp_path


def test_all_of_it_is_there(folder: Path) -> None:
    assert callable(add_again(NOBODY_IS_ASKED, folder))


@pytest.mark.parametrize("missing", ["hs_ed25519_secret_key", "over-control"])
def test_what_is_missing_is_said_before_tor_forgets_the_service(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(ConfigurationError, match="no key and record"):
        add_again(NOBODY_IS_ASKED, folder)


def test_a_client_that_cannot_be_read_too(folder: Path) -> None:
    """Without it a private service would be another one, or open; found out too late, there would be none at all."""
    (folder / "authorized_clients").mkdir()
    (folder / "authorized_clients" / "alice.auth").write_text("descriptor:x25519:mistyped\n")
    with pytest.raises(ConfigurationError, match=r"alice\.auth"):
        add_again(NOBODY_IS_ASKED, folder)
