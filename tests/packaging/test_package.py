"""What the package tells dpkg and puts beside the programs; the whole of it is built by `make deb`."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.debian import control as module
from deploy.debian.assemble import COMPLETIONS, FILES, completion
from deploy.debian.control import control, debian_version, write_control
from deploy.debian.environment import relocate
from deploy.debian.examples import postfix_examples
from deploy.debian.reference import system_defaults
from onionmx import __version__
from onionmx.cli import COMMANDS

PROJECT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("python", "debian"), [("1.2.3", "1.2.3"), ("1.2.dev3", "1.2~dev3"), ("1.2a1", "1.2~a1"), ("1.2rc1", "1.2~rc1")]
)
def test_versions_sort_as_python_sorts_them(python: str, debian: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "__version__", python)
    assert debian_version() == debian
    later = subprocess.run(["dpkg", "--compare-versions", debian, "le", "1.2.3"], check=False)
    assert later.returncode == 0


def test_the_package_is_for_one_python_only(tmp_path: Path) -> None:
    (tmp_path / "control").write_text(control("amd64", "libc6 (>= 2.34)", 1000, (3, 13)))
    fields = subprocess.run(
        ["dpkg-deb", "--field", _built(tmp_path), "Package", "Version", "Architecture", "Depends", "Recommends"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    assert fields == [
        "Package: onionmx",
        f"Version: {__version__}",
        "Architecture: amd64",
        "Depends: python3 (>= 3.13), python3 (<< 3.14), libc6 (>= 2.34)",
        "Recommends: tor",
    ]


def _built(folder: Path) -> Path:
    root = folder / "root"
    (root / "DEBIAN").mkdir(parents=True)
    (folder / "control").rename(root / "DEBIAN/control")
    subprocess.run(["dpkg-deb", "-Znone", "--build", root, folder / "a.deb"], check=True, capture_output=True)
    return folder / "a.deb"


def test_every_file_but_the_conffile_has_a_checksum(tmp_path: Path) -> None:
    for name in ("etc/onionmx/onionmx.toml", "usr/bin/onionmx", "usr/share/doc/a b"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "usr/link").symlink_to("bin")
    write_control(tmp_path, "amd64", "libc6", (3, 11))
    assert (tmp_path / "DEBIAN/conffiles").read_text() == "/etc/onionmx/onionmx.toml\n"
    checked = subprocess.run(
        ["md5sum", "--check", "DEBIAN/md5sums"], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert checked.stdout.splitlines() == ["usr/bin/onionmx: OK", "usr/share/doc/a b: OK"]


@pytest.mark.parametrize("script", ["postinst", "prerm", "postrm"])
def test_shell_takes_the_scripts(script: str) -> None:
    subprocess.run(["sh", "-n", FILES / script], check=True)


@pytest.mark.parametrize(("mode", "is_given"), [(0o600, True), (0o400, True), (0o640, False), (0o644, False)])
def test_upgrade_gives_the_user_of_sync_what_root_alone_could_read(tmp_path: Path, mode: int, is_given: bool) -> None:  # noqa: FBT001 -- pytest gives it
    """What others could read already stays root's: sync reads it as they do, or refuses it."""
    secret = tmp_path / "secret"
    secret.touch()
    secret.chmod(mode)
    stand_in = f"""
        onionmx() {{ echo 'store_password_file = "{secret}"'; }}
        systemctl() {{ :; }}
        mv() {{ :; }}
        stat() {{ echo "0:$(command stat -c %a "$3")"; }}
        chown() {{ echo "$@"; }}
    """
    text = (FILES / "postinst").read_text()
    function = text[text.index("hand_over() {") : text.index('if [ "$1" = configure ]')]
    done = subprocess.run(["sh", "-ec", f"{stand_in}{function}hand_over"], capture_output=True, text=True, check=True)
    assert (f"onionmx {secret}\n" in done.stdout) == is_given


def test_programs_run_in_the_private_environment_alone(tmp_path: Path) -> None:
    environment = tmp_path / "private"
    (environment / "bin").mkdir(parents=True)
    (environment / "lib").mkdir()
    for name in ("onionmx", "onionmx-route"):
        (environment / "bin" / name).write_text(f"#!{environment}/bin/python3\nprint()\n")
    relocate(environment, "3.13", tmp_path / "usr/bin")
    for name in ("onionmx", "onionmx-route"):
        assert (tmp_path / "usr/bin" / name).read_text() == "#!/usr/lib/onionmx/bin/python3 -I\nprint()\n"
        assert os.access(tmp_path / "usr/bin" / name, os.X_OK)
    assert sorted(path.name for path in environment.iterdir()) == ["bin", "lib", "pyvenv.cfg"]
    assert str((environment / "bin/python3").readlink()) == "../../../bin/python3.13"


def test_a_program_without_an_interpreter_stops_the_build(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/onionmx").write_text("print()\n")
    with pytest.raises(ValueError, match="does not begin with the name of its interpreter"):
        relocate(tmp_path, "3.13", tmp_path / "usr/bin")


def test_the_configuration_is_the_same_whoever_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    as_root = system_defaults().to_toml(is_commented=True)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", "/home/somebody")
    monkeypatch.setenv("STATE_DIRECTORY", "/home/somebody")
    assert system_defaults().to_toml(is_commented=True) == as_root
    assert "/home" not in as_root


@pytest.mark.parametrize("shell", COMPLETIONS)
def test_completions_name_the_program(shell: str) -> None:
    script = completion(shell)
    assert "_ONIONMX_COMPLETE" in script
    assert "onionmx" in script


def test_bash_completes_the_commands(tmp_path: Path) -> None:
    (tmp_path / "completion").write_text(completion("bash"))
    program = Path(sys.executable).parent
    ask = ". ./completion; COMP_WORDS=(onionmx ''); COMP_CWORD=1; _onionmx_completion onionmx; echo ${COMPREPLY[@]}"
    answer = subprocess.run(
        ["bash", "-c", ask],
        cwd=tmp_path,
        env=os.environ | {"PATH": f"{program}:{os.environ['PATH']}"},
        check=True,
        capture_output=True,
        text=True,
    )
    assert set(answer.stdout.split()) == set(COMMANDS)


def test_examples_for_postfix_are_those_of_the_documents() -> None:
    examples = dict(postfix_examples(PROJECT / "docs"))
    assert set(examples) == {"send/main.cf", "send/master.cf", "receive/main.cf", "receive/master.cf"}
    documents = {"send": "postfix.md", "receive": "receiving.md"}
    for name, content in examples.items():
        folder, _, file = name.partition("/")
        text = (PROJECT / "docs" / documents[folder]).read_text()
        blocks = re.findall(rf"^In `/etc/postfix/{file}`:\n\n((?: {{4}}.*\n|\n)+)", text, re.MULTILINE)
        assert blocks
        for block in blocks:
            assert "\n".join(line[4:] for line in block.strip("\n").splitlines()) in content
