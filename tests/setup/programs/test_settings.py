"""The drop-in of the configuration."""

import pytest

from onionmx.config import Configuration
from onionmx.setup.programs.settings import drop_in
from onionmx.setup.programs.wishes import SetupOptions
from tests.setup.programs.test_tor import ports


@pytest.mark.parametrize(
    ("file", "named"),
    [
        ("/etc/onionmx/tsig.key", "/etc/onionmx/tsig.key"),
        # Root's command reads the one in the clear, the unit gets it from systemd: the same name for both.
        ("/etc/credstore/onionmx.tsig", "credential:onionmx.tsig"),
    ],
)
def test_key_of_the_name_server(file: str, named: str) -> None:
    wishes = SetupOptions(domains=("example.org",), receive=True, publish_to="192.0.2.1", tsig_file=file)
    text = drop_in(Configuration(), wishes, ports(""), ())
    assert Configuration.parse(text.encode(), "50-setup.toml").publish.tsig_file == named
