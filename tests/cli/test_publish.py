"""`onionmx publish` without a name server, and the command lines that it refuses."""

import json
from pathlib import Path

import pytest

from onionmx.cli import main
from tests.onions import V2_ONION, make_onion

A, B = make_onion("A"), make_onion("B")


class Command:
    """The command with a configuration of its own."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._file = folder / "onionmx.toml"
        self._capsys = capsys
        self.configure()

    def configure(self, text: str = "") -> None:
        # Without the password, tor is not even asked.
        self._file.write_text(f'{text}\n[tor]\ncontrol_password_file = "{self.folder}/missing"\n')

    def __call__(self, *words: str) -> tuple[int, str, str]:
        code = main(["publish", "--config", str(self._file), *words])
        return code, *self._capsys.readouterr()


@pytest.fixture
def publish(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(tmp_path, capsys)


def test_records_are_printed(publish: Command) -> None:
    name = "_onion-mx._tcp.a.example."
    assert publish("A.example.", "--onion", A) == (0, f"{name} 3600 IN SRV 0 5 25 {A}.\n", "")
    words = ["a.example", "--onion", f"{A}:2525:10:1", "--onion", B, "--ttl", "60"]
    assert publish(*words)[1] == f"{name} 60 IN SRV 0 5 25 {B}.\n{name} 60 IN SRV 10 1 2525 {A}.\n"
    assert publish(*words, "--format", "nsupdate")[1].splitlines()[-1] == "send"
    assert publish(*words, "--format", "tinydns")[1].count(":_onion-mx._tcp.a.example:33:") == 2
    printed = publish(*words, "--json")[1]
    assert printed == publish(*words, "--format", "json")[1]
    assert [(each["name"], len(each["targets"])) for each in json.loads(printed)] == [(name, 2)]
    assert publish("a.example", "--withdraw", "-f", "nsupdate")[1] == f"update delete {name} IN SRV\nsend\n"


def test_onions_come_from_a_file(publish: Command) -> None:
    """As tor writes it, and as --onion takes several."""
    file = publish.folder / "hostname"
    file.write_text(f"{A}\n")
    assert publish("a.example", "--onion-file", str(file)) == publish("a.example", "--onion", A)
    file.write_text(f"{A}:2525:10:1\n{B}\n")
    assert publish("a.example", "--onion-file", str(file)) == publish(
        "a.example", "--onion", f"{A}:2525:10:1", "--onion", B
    )


@pytest.mark.parametrize("text", ["root:$y$hash:20228:0:99999:7:::", "$y$hash", f"{A}:$y$hash", f"{A} {A} $y$hash"])
def test_what_is_no_onion_in_that_file_is_not_shown(publish: Command, text: str) -> None:
    """A link to a file of root, in the folder of tor's user."""
    file = publish.folder / "hostname"
    file.write_text(f"{text}\n")
    code, out, error = publish("a.example", "--onion-file", str(file))
    assert (code, out) == (64, "")
    assert error == f"onionmx: {file}: expected onions, each once, as in the hostname of a HiddenServiceDir\n"


def test_domains_come_from_arguments_lists_and_the_configuration(publish: Command) -> None:
    file = publish.folder / "domains"
    file.write_text("b.example # ours\na.example\n")
    domains = [line.split()[0] for line in publish("a.example", "--domains", str(file), "--onion", A)[1].splitlines()]
    assert domains == ["_onion-mx._tcp.a.example.", "_onion-mx._tcp.b.example."]
    publish.configure('[local]\ndomains = ["z.example", "own.example"]\n[publish]\nttl = 7')
    assert [line.split()[:2] for line in publish("--onion", A)[1].splitlines()] == [
        ["_onion-mx._tcp.own.example.", "7"],
        ["_onion-mx._tcp.z.example.", "7"],
    ]


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (["--onion", A], 78, "no domain to publish: name some, or set local.domains or local.file"),
        (["a.example"], 78, "missing does not exist"),
        (["a b", "--onion", A], 64, "contains ' '"),
        ([A, "--onion", A], 64, "is an onion itself"),
        (["a.example", "--onion", V2_ONION], 64, "version 2 onion address"),
        (["a.example", "--onion", A, "--onion", f"{A}:25:9"], 64, "is named twice"),
        (["a.example", "--onion", f"{A}:25:70000"], 64, "is not a priority"),
        (["a.example", "--onion", A, "--ttl", "-1"], 64, "'--ttl': -1"),
        (["a.example", "--onion", A, "--dry-run"], 64, "--dry-run compares with a name server"),
        (["a.example", "--onion", A, "--withdraw"], 64, "expected no --onion and no --onion-file"),
        (["a.example", "--onion", A, "--onion-file", "{hostname}"], 64, "expected one of them"),
        (["a.example", "--onion-file", "{hostname}", "--withdraw"], 64, "expected no --onion and no --onion-file"),
        (["a.example", "--onion-file", "/nowhere"], 64, "/nowhere cannot be read"),
        (["a.example", "--onion-file", "/dev/null"], 64, "/dev/null: expected onions, each once, as in the"),
        (
            ["a.example", "--update", "127.0.0.1", "--onion", A, "--tsig-file", "credential:x"],
            78,
            "the TSIG key: credential x",
        ),
        (["a.example", "--withdraw"], 64, "--withdraw: delete the line from the zone"),
        (["a.example", "--withdraw", "-f", "zone"], 64, "--withdraw has no line for --format zone"),
        (["a.example", "--onion", A, "--json", "-f", "zone"], 64, "contradict each other"),
        (["a.example", "--onion", A, "--update", "ns.example"], 64, "'ns.example' is not a name server"),
        (["a.example", "--onion", A, "--update", "127.0.0.1", "-f", "zone"], 64, "--format prints, --update sends"),
        (["a.example", "--onion", A, "--update", "127.0.0.1", "-n", "-f", "zone"], 64, "which --format zone has no"),
        (
            ["a.example", "--onion", A, "--update", "127.0.0.1", "--tsig-file", "/nowhere"],
            78,
            "the TSIG key /nowhere does not exist",
        ),
        (["--domains", "/nowhere", "--onion", A], 64, "/nowhere cannot be read"),
    ],
)
def test_what_is_refused(publish: Command, words: list[str], code: int, why: str) -> None:
    hostname = publish.folder / "hostname"
    hostname.write_text(f"{A}\n")
    found, out, err = publish(*(word.format(hostname=hostname) for word in words))
    assert (found, out) == (code, "")
    assert why in err


def test_a_key_that_others_may_read_is_not_used(publish: Command) -> None:
    key = publish.folder / "key"
    key.write_text("key.example:hmac-sha256:c2VjcmV0\n")
    key.chmod(0o644)
    code, out, err = publish("a.example", "--onion", A, "--update", "127.0.0.1:1", "--tsig-file", str(key))
    assert (code, out, err.count("\n")) == (78, "", 1)
    assert "has mode 0644: it is a secret" in err
