"""All of deploy/: systemd takes every unit, each is tight, needs no folder of others, and names what there is."""

import os
import re
import subprocess
from pathlib import Path

import msgspec
import pytest

from onionmx.cli import COMMANDS
from onionmx.config import Configuration, FallbackSection, OnionSection, RelaySection
from onionmx.credential import STORES, encrypted_store
from onionmx.defaults import MAP_PATH, TOR_USER
from onionmx.tor.service.running import HOSTNAME
from onionmx.watch.state import FOLDER
from tests.acceptance import documents
from tests.e2e.programs import find_program
from tests.serve.test_units import DEPLOY, analyze

UNITS = sorted(path.name for path in DEPLOY.iterdir() if path.suffix in {".service", ".socket", ".timer", ".path"})
SERVICES = [name for name in UNITS if name.endswith(".service")]
COMMAND = "onionmx-map.service"
"""It runs the administrator's command, as root; all others are of onionmx, and nobody is root in them."""
OURS = [name for name in SERVICES if name != COMMAND]
EXPOSURE = 1.0
EXPOSURE_OF_THE_COMMAND = 3.0


def lines(name: str, option: str) -> list[str]:
    return re.findall(f"^{option}=(.*)$", (DEPLOY / name).read_text(), re.MULTILINE)


def test_systemd_finds_no_mistake(tmp_path: Path) -> None:
    for name in UNITS:
        # The program, and the manual of tor, are not on every machine that runs tests.
        text = (DEPLOY / name).read_text().replace("/usr/bin/onionmx", "/bin/true")
        (tmp_path / name).write_text(re.sub("^Documentation=.*", "", text, flags=re.MULTILINE))
    command: list[str | Path] = [find_program("systemd-analyze"), "verify", *(tmp_path / name for name in UNITS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert not [line for line in (done.stdout + done.stderr).splitlines() if "onionmx" in line]


@pytest.mark.parametrize("name", SERVICES)
def test_the_sandbox_is_tight(name: str) -> None:
    said = analyze("security", "--offline=true", DEPLOY / name)
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert exposure
    assert float(exposure[1]) <= (EXPOSURE_OF_THE_COMMAND if name == COMMAND else EXPOSURE)


@pytest.mark.parametrize("name", SERVICES)
def test_no_folder_of_another_has_to_be_there(name: str) -> None:
    """Without `-`, systemd does not start a service one of whose paths is missing (systemd.exec(5))."""
    for option in (
        "ReadOnlyPaths",
        "ReadWritePaths",
        "InaccessiblePaths",
        "ExecPaths",
        "BindPaths",
        "BindReadOnlyPaths",
    ):
        for path in " ".join(lines(name, option)).split():
            assert path.startswith("-"), f"{option}={path}"


@pytest.mark.parametrize("name", UNITS)
def test_settings_that_comments_name_are_there(name: str) -> None:
    sections = {section.name: section.type for section in msgspec.structs.fields(Configuration)}
    comments = "\n".join(re.findall("^#(.*)$", (DEPLOY / name).read_text(), re.MULTILINE))
    for section, key in re.findall(rf"(?<![-\w])({'|'.join(sections)})\.(\w+)", comments):
        assert key in {field.name for field in msgspec.structs.fields(sections[section])}, f"{section}.{key}"


def test_the_command_is_the_administrators_to_write() -> None:
    """As shipped it says so and does nothing; systemd does not take a service without any command."""
    assert lines(COMMAND, "ExecStart") == [f'/bin/echo "No command yet: systemctl edit {COMMAND}"']
    assert not lines(COMMAND, "WantedBy")
    assert not lines("onionmx-map.path", "Unit")  # so it is that service
    assert lines("onionmx-map.path", "PathChanged") == [MAP_PATH]


def test_a_command_that_has_not_told_the_mta_is_repeated(tmp_path: Path) -> None:
    """A change while it runs is not seen, and a path unit whose service starts too often is given up by systemd."""
    assert lines(COMMAND, "StartLimitIntervalSec") == ["0"]
    assert lines(COMMAND, "Restart") == ["on-failure"]
    map_path, begun = tmp_path / "map", tmp_path / "begun"

    def ends(option: str) -> bool:
        texts = (line.removeprefix("-") for line in lines(COMMAND, option))
        words = (text.replace(MAP_PATH, str(map_path)).replace("%t/onionmx-map/begun", str(begun)) for text in texts)
        return all(subprocess.run(each.split(), check=False, capture_output=True).returncode == 0 for each in words)

    assert not ends("ExecStartPre")
    assert ends("ExecStartPost"), "there is no map here: it is elsewhere"
    map_path.touch()
    assert not ends("ExecStartPost")
    assert ends("ExecStartPre")
    assert ends("ExecStartPost")
    seen = map_path.stat().st_mtime_ns
    for changed in (seen + 4_000_000, seen - 4_000_000):  # a clock may be set back
        os.utime(map_path, ns=(changed, changed))
        assert not ends("ExecStartPost")


@pytest.mark.parametrize("program", ["/bin/true", "/nonexistent/smtpctl"])
def test_the_drop_in_of_the_document(program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = documents.section((DEPLOY.parent / "docs/units.md").read_text(), "A command of root after a change")
    shown, enabled = documents.steps(text)
    assert enabled.text == "systemctl enable --now onionmx-map.path\n"
    first, *drop_in = documents.replace(shown.text, {"/usr/sbin/smtpctl": program}).splitlines()
    assert first == f"# systemctl edit {COMMAND}"
    (tmp_path / f"{COMMAND}.d").mkdir()
    (tmp_path / f"{COMMAND}.d/override.conf").write_text("\n".join(drop_in))
    (tmp_path / COMMAND).write_text(re.sub("^Documentation=.*", "", (DEPLOY / COMMAND).read_text(), flags=re.MULTILINE))
    monkeypatch.setenv("SYSTEMD_UNIT_PATH", f"{tmp_path}:")
    command: list[str | Path] = [find_program("systemd-analyze"), "verify", tmp_path / COMMAND]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (f"Command {program} is not executable" in done.stderr) == program.startswith("/nonexistent"), done.stderr


@pytest.mark.parametrize("name", OURS)
def test_the_command_is_there(name: str) -> None:
    for command in lines(name, "ExecStart"):
        program, word, *_ = command.split()
        assert program == "/usr/bin/onionmx"
        assert word in COMMANDS


@pytest.mark.parametrize("name", SERVICES)
def test_limits_are_set(name: str) -> None:
    for option in ("MemoryMax", "TasksMax", "PrivateMounts"):
        assert lines(name, option), option


@pytest.mark.parametrize("name", OURS)
def test_nobody_is_root(name: str) -> None:
    assert lines(name, "User") or lines(name, "DynamicUser") == ["yes"]
    for user in lines(name, "User"):
        assert user == TOR_USER or re.search(
            rf"^u {user} ", (DEPLOY / "onionmx-sysusers.conf").read_text(), re.MULTILINE
        )


def test_each_secret_is_one_units_alone() -> None:
    """Of a path that is missing systemd makes a failure, of a name it does not (systemd.exec(5), LoadCredential=)."""
    loaded = {name: given for name in SERVICES if (given := lines(name, "LoadCredential"))}
    hostname = f"{OnionSection().directory}/{HOSTNAME}"
    assert loaded == {
        "onionmx-publish.service": ["onionmx.tsig", f"{HOSTNAME}:{hostname}"],
        "onionmx-sync.service": ["onionmx.store-password", "onionmx.store-key"],
    }
    assert lines("onionmx-publish.service", "AssertPathExists") == [hostname]
    for name in loaded:
        hidden = lines(name, "InaccessiblePaths")[0].split()
        assert {f"-{STORES[0]}", f"-{encrypted_store(STORES[0])}"} <= set(hidden)


def test_only_watch_and_guard_are_tors_user() -> None:
    """Who may ask tor over its control socket may do all that tor may do."""
    assert [name for name in SERVICES if lines(name, "User") == [TOR_USER]] == [
        "onionmx-guard.service",
        "onionmx-watch.service",
    ]
    groups = {name: given for name in SERVICES if (given := lines(name, "SupplementaryGroups"))}
    assert groups == {"onionmx-relay.service": ["onionmx-fallback"], "onionmx-serve.service": ["onionmx-status"]}


def test_the_relay_may_write_where_its_readers_look() -> None:
    folder = Path(FallbackSection().released).parent
    assert lines("onionmx-relay.service", "ReadWritePaths") == [f"-{folder}"]
    assert f"d {folder} 0775 root onionmx-fallback -" in (DEPLOY / "onionmx-tmpfiles.conf").read_text()
    assert "\ng onionmx-fallback -" in (DEPLOY / "onionmx-sysusers.conf").read_text()


def test_the_watch_keeps_its_state_where_status_looks_for_it() -> None:
    assert [f"/var/lib/{name}" for name in lines("onionmx-watch.service", "StateDirectory")] == [str(FOLDER)]


def test_no_unit_needs_the_kill_of_procps() -> None:
    for name in SERVICES:
        for command in (*lines(name, "ExecReload"), *lines(name, "ExecStop")):
            assert not re.match(r"[-+!:@]*(/usr)?/bin/kill\b", command), f"{name}: {command}"


def test_daemon_that_fails_again_and_again_keeps_its_ports() -> None:
    """Else its socket unit would end with it: `service-start-limit-hit`."""
    for socket in (name for name in UNITS if name.endswith(".socket")):
        service = socket.replace(".socket", ".service")
        assert lines(service, "StartLimitIntervalSec") == ["0"], service
        assert lines(service, "Restart")[0] in {"always", "on-failure"}


def test_the_relays_sockets_are_those_of_the_configuration() -> None:
    settings = RelaySection()
    assert lines("onionmx-relay.socket", "ListenStream") == [*settings.smtp_listen, *settings.lmtp_listen]
