"""`onionmx publish` beside a real tor: which service it takes, and which onions it warns of."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from onionmx.cli import main
from tests.onions import make_onion

from .conftest import skip_without
from .lone_tor import LoneTor

MAIL = "HiddenServiceDir {0}/mail\nHiddenServicePort 25 127.0.0.2:25\n"
SECOND = "HiddenServiceDir {0}/second\nHiddenServicePort 25 127.0.0.2:2525\n"
WEB = "HiddenServiceDir {0}/web\nHiddenServicePort 80 127.0.0.1:8080\n"


class Host:
    """A tor, and the command with a configuration that names it."""

    def __init__(self, tor: LoneTor, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._folder = folder
        self._capsys = capsys
        self._configuration = folder / "onionmx.toml"
        self._configuration.write_text(
            f'[tor]\ncontrol = "{tor.control_address}"\n[onion]\ndirectory = "{folder}/none"\n'
        )
        self.control = tor.control_address

    def onion(self, service: str) -> str:
        return (self._folder / service / "hostname").read_text().strip()

    def publish(self, *words: str) -> tuple[int, str, str]:
        code = main(["publish", "a.example", "--config", str(self._configuration), *words])
        return code, *self._capsys.readouterr()


@pytest.fixture
def host(request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Host]:
    skip_without("tor", "setpriv")
    tor = LoneTor(tmp_path / "tor", str(request.param).format(tmp_path))
    tor.start()
    yield Host(tor, tmp_path, capsys)
    tor.stop()


@pytest.mark.parametrize("host", [MAIL + WEB], indirect=True)
def test_the_service_that_carries_mail(host: Host) -> None:
    mail, web, other = host.onion("mail"), host.onion("web"), make_onion("elsewhere")
    record = f"_onion-mx._tcp.a.example. 3600 IN SRV 0 5 25 {mail}.\n"
    assert host.publish() == (0, record, "")
    assert host.publish("--onion", mail) == (0, record, "")
    code, out, err = host.publish("--onion", mail, "--onion", other, "--onion", web, "--onion", f"{mail}:26")
    assert (code, out.count("\n")) == (0, 4)
    assert sorted(err.splitlines()) == sorted(
        f"onionmx: warning: {line}"
        for line in (
            f"{other} is not an onion service of this tor ({host.control}); right if its tor runs elsewhere",
            f"{web} does not carry port 25 on this tor ({host.control})",
            f"{mail} does not carry port 26 on this tor ({host.control})",
        )
    )


@pytest.mark.parametrize(
    ("host", "why"),
    [
        (WEB, "no onion service of this tor carries port 25: make one (onionmx onion create), or name it with --onion"),
        (MAIL + SECOND, "2 onion services of this tor carry port 25 ("),
    ],
    indirect=["host"],
)
def test_no_service_to_choose(host: Host, why: str) -> None:
    code, out, err = host.publish()
    assert (code, out, err.count("\n")) == (78, "", 1)
    assert why in err
