import re
import tomllib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.authenticate.demand import policy_file
from onionmx.cli import main
from onionmx.config import Configuration, DnsSection, Export, MapSection, RelaySection, SyncSection, parse_nameserver
from onionmx.config.lookup import CACHE_NAME, CONTROL_NAME, MEMORY_NAME
from onionmx.config.sync import STATE_NAME
from onionmx.errors import ConfigurationError
from onionmx.fallback import memory
from onionmx.relay.sessions import announced
from onionmx.setup.manifest import FORMER_FOLDER
from onionmx.shipped import shipped
from onionmx.status import deliveries
from onionmx.sync.lists import recipients
from onionmx.watch import state as watch
from tests.acceptance import documents
from tests.onions import make_onion


def test_defaults_need_no_file(tmp_path: Path) -> None:
    configuration = Configuration.load()
    assert configuration.dns.nameservers == ()
    assert configuration.map.path.endswith("/onionmx.cdb")
    assert str(tmp_path)


def test_printed_configuration_is_read_back_as_it_was() -> None:
    configuration = Configuration(
        map=MapSection(
            path='/odd "path"\n\\é',
            transport_path="/x",
            exports=(Export(path="/domains.txt"), Export(path="/b", template='{domain} "{{"', under_onion="*.onion")),
        ),
        dns=DnsSection(nameservers=("127.0.0.1:53", "[::1]:5353"), timeout=0.25, retries=0),
        sync=SyncSection(domains=("/etc/a", "/etc/b")),
        relay=RelaySection(messages_per_session_of={make_onion("a"): 100, make_onion("b"): 1}),
    )
    assert Configuration.parse(configuration.to_toml().encode(), "printed") == configuration


def test_other_mtas_are_told_what_is_there() -> None:
    """The settings, units and ports of docs/other-mtas.md."""
    text = shipped("docs/other-mtas.md").read_text()
    settings, units = documents.steps(documents.section(text, "Send"))
    configuration = Configuration.parse(settings.text.encode(), settings.file)
    assert configuration.local.domains == ("example.org",)
    assert configuration.sync.domains == ("/etc/onionmx/domains",)
    for unit in units.text.split("--now ")[1].split():
        assert shipped(f"deploy/{unit}").is_file()
    assert configuration.relay.smtp_listen[0] in text
    assert f"By LMTP, to port {configuration.relay.lmtp_listen[0].rpartition(':')[2]}," in text
    question = shipped("deploy/sendmail/send.m4").read_text()
    assert f"inet:{configuration.serve.socketmap_listen[0].rpartition(':')[2]}@127.0.0.1\n" in question


def test_every_field_is_described() -> None:
    printed = Configuration().to_toml()
    for section in msgspec.structs.fields(Configuration):
        for field in msgspec.structs.fields(getattr(Configuration(), section.name)):
            line = next(
                number for number, text in enumerate(printed.splitlines()) if text.startswith(f"{field.name} =")
            )
            assert printed.splitlines()[line - 1].startswith("# ")
    assert tomllib.loads(printed)


def test_commented_configuration_says_nothing_until_it_is_uncommented(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--commented"]) == 0
    printed = capsys.readouterr().out
    tables = tomllib.loads(printed)
    assert list(tables) == [field.name for field in msgspec.structs.fields(Configuration)]
    assert not any(tables.values())
    uncommented = re.sub(r"^#(?=[a-z_]+ = )", "", printed, flags=re.MULTILINE)
    assert uncommented == Configuration().to_toml()
    assert Configuration.parse(uncommented.encode(), "uncommented") == Configuration()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[dns]\ntimeouts = 3", "dns: Object contains unknown field `timeouts`"),
        ("[smtp]", "Object contains unknown field `smtp`"),
        ("[dns]\ntimeout = 'long'", "dns.timeout: Expected `float`, got `str`"),
        ("[dns]\ntimeout = 0", "dns.timeout: Expected `float` > 0"),
        ("[dns]\nconcurrency = 5000", "dns.concurrency: Expected `int` <= 1000"),
        ("[dns]\nnameservers = ['127.0.0']", "dns: '127.0.0' is not a name server"),
        ("[dns]\nnameservers = ['127.0.0.1:0']", "dns: '127.0.0.1:0' is not a name server"),
        ("[map]\npath = ''", "map.path: Expected `str` of length >= 1"),
        ("[map]\ntransport = 'a b'", "map.transport: Expected `str` matching"),
        ("[[map.exports]]\ntemplate = '{domain}'", "map.exports[0]: Object missing required field `path`"),
        ("[[map.exports]]\npath = '/x'\nformat = 'x'", "map.exports[0]: Object contains unknown field `format`"),
        ("[[map.exports]]\npath = '/x'\ntemplate = '{x}'", "map.exports[0]: template '{x}' has the field 'x'"),
        ("[[map.exports]]\npath = '/x'\nlabels = 'utf-8'", "map.exports[0].labels: Invalid enum value 'utf-8'"),
        ("[sync]\nafter = ['makemap', 'hash']", "sync: sync.after: 'makemap' is not the path of a program"),
        ("[sync]\nafter = '/bin/true'", "sync.after: Expected `array`, got `str`"),
        ("[relay]\nscrub = ['From']", "relay: relay.scrub: From stays in the message: "),
        ("map = 5", "map: Expected `object`, got `int`"),
        ("[dns", "not TOML: "),
        ("a = 1\na = 2", "not TOML: "),
    ],
)
def test_mistakes_are_named_with_file_and_key(text: str, why: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Configuration.parse(text.encode(), "/etc/onionmx/onionmx.toml")
    assert str(caught.value).startswith(f"configuration /etc/onionmx/onionmx.toml: {why}")


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "/etc/x",
        "s/x",
        "",
        ".",
        "..",
        "x/..",
        "x\n",
        "x\u202e",
        ".x",
        "map",
        "map.lock",
        "map.demands",
        "map.after",
    ],
)
def test_exports_are_files_of_their_own_in_the_folder_of_the_map(name: str) -> None:
    with pytest.raises(ValueError, match="exports: "):
        MapSection(path="/var/lib/onionmx/map", exports=(Export(path=f"/var/lib/onionmx/{name}"),))


def test_no_export_has_the_name_of_a_file_of_onionmx() -> None:
    names = [
        *(announced.NAME, deliveries.NAME, memory.NAME, policy_file.NAME, recipients.FILE_NAME, watch.NAME),
        *(CACHE_NAME, MEMORY_NAME, STATE_NAME, CONTROL_NAME, f"{STATE_NAME}-journal", f"{STATE_NAME}.lock"),
        Path(FORMER_FOLDER).name,
    ]
    for name in names:
        with pytest.raises(ValueError, match="the name of a file of onionmx itself"):
            MapSection(path="/v/map", exports=(Export(path=f"/v/{name}"),))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("transport_path = '/v/x'", "map.exports: /v/x is map.transport_path too"),
        ("[sync]\nmetrics_file = '/v//x'", "map.exports: /v//x is sync.metrics_file too"),
        ("[sync]\ndomains = ['/etc/a', '/v/x']", "map.exports: /v/x is sync.domains too"),
        ("[relay]\ncontrol = '/v/x'", "map.exports: /v/x is relay.control too"),
        ("[serve]\nhttp_listen = ['unix:/v/x']", "map.exports: unix:/v/x is serve.http_listen too"),
        ("[relay]\nunrouted = 'reject'", "map.exports: an MTA with a list that is older or newer than the map"),
    ],
)
def test_no_export_contradicts_another_setting(text: str, why: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Configuration.parse(f"[map]\npath = '/v/map'\nexports = [{{path = '/v/x'}}]\n{text}".encode(), "file")
    assert str(caught.value).startswith(f"configuration file: {why}")


def test_two_exports_need_two_files() -> None:
    with pytest.raises(ValueError, match=r"exports: /v/x is named twice"):
        MapSection(path="/v/map", exports=(Export(path="/v/x"), Export(path="/v//x", labels="both")))


def test_file_that_is_not_text() -> None:
    with pytest.raises(ConfigurationError, match="byte 0 is not UTF-8"):
        Configuration.parse(b"\xff", "file")


def test_named_file_must_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="does not exist"):
        Configuration.load(tmp_path / "none.toml")
    monkeypatch.setenv("ONIONMX_CONFIG", str(tmp_path))
    with pytest.raises(ConfigurationError, match="cannot be read: Is a directory"):
        Configuration.load()


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("127.0.0.1", ("127.0.0.1", 53)),
        ("127.0.0.1:5353", ("127.0.0.1", 5353)),
        ("::1", ("::1", 53)),
        ("[::1]", ("::1", 53)),
        ("[::1]:5353", ("::1", 5353)),
    ],
)
def test_name_server(text: str, parsed: tuple[str, int]) -> None:
    assert parse_nameserver(text) == parsed


@given(st.text())
def test_name_server_raises_only_value_error(text: str) -> None:
    try:
        parse_nameserver(text)
    except ValueError as error:
        assert "is not a name server" in str(error)


def test_drop_ins_win_key_by_key_in_the_order_of_their_names(tmp_path: Path) -> None:
    file = tmp_path / "onionmx.toml"
    file.write_text('[local]\ndomains = ["a.example"]\nfile = "/etc/own"\n[dns]\nretries = 1\n')
    folder = tmp_path / "onionmx.toml.d"
    folder.mkdir()
    (folder / "50-setup.toml").write_text('[local]\ndomains = ["b.example"]\n[sync]\ntop = 5\n')
    (folder / "60-mine.toml").write_text("[sync]\ntop = 6\n")
    (folder / ".70-draft.toml").write_text("[sync]\ntop = 7\n")
    (folder / "80-mine.toml.bak").write_text("[sync]\ntop = 8\n")
    configuration = Configuration.load(file)
    assert configuration.local.domains == ("b.example",)
    assert configuration.local.file == "/etc/own"
    assert configuration.dns.retries == 1
    assert configuration.sync.top == 6


def test_drop_ins_of_the_default_file_need_no_default_file(tmp_path: Path) -> None:
    folder = tmp_path / "no-such.toml.d"  # the default file of the tests
    folder.mkdir()
    (folder / "50-setup.toml").write_text("[sync]\ntop = 5\n")
    assert Configuration.load().sync.top == 5


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[dns]\ntimeouts = 3", "dns: Object contains unknown field `timeouts`"),
        ("[dns]\ntimeout = 0", "dns.timeout: Expected `float` > 0"),
        ("dns = 3", "dns: Expected `object`, got `int`"),
        ("[dns", "not TOML: "),
    ],
)
def test_mistakes_in_a_drop_in_are_named_with_its_file(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "onionmx.toml"
    file.write_text("[dns]\nretries = 1\n")
    folder = tmp_path / "onionmx.toml.d"
    folder.mkdir()
    (folder / "10-good.toml").write_text("[dns]\nretries = 2\n")
    (folder / "50-bad.toml").write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        Configuration.load(file)
    assert str(caught.value).startswith(f"configuration {folder}/50-bad.toml: {why}")


def test_drop_in_may_complete_what_the_file_has_begun(tmp_path: Path) -> None:
    file = tmp_path / "onionmx.toml"
    file.write_text("[dns]\nthrough_tor = true\n")
    (tmp_path / "onionmx.toml.d").mkdir()
    (tmp_path / "onionmx.toml.d" / "50.toml").write_text('[dns]\nnameservers = ["192.0.2.1"]\n')
    assert Configuration.load(file).dns.through_tor


def test_old_names_of_keys_are_taken_with_a_notice(caplog: pytest.LogCaptureFixture) -> None:
    configuration = Configuration.parse(b"[sync]\nmax_stale = 5\n[lookup]\nmax_stale = 5\n", "onionmx.toml")
    assert (configuration.sync.max_stale_days, configuration.lookup.max_stale_seconds) == (5, 5)
    assert [message.partition("; ")[0] for message in caplog.messages] == [
        "configuration onionmx.toml: sync.max_stale is now sync.max_stale_days",
        "configuration onionmx.toml: lookup.max_stale is now lookup.max_stale_seconds",
    ]


def test_old_name_of_a_table_is_taken_with_a_notice(caplog: pytest.LogCaptureFixture) -> None:
    configuration = Configuration.parse(b'[own]\ndomains = ["example.org"]', "onionmx.toml")
    assert configuration.local.domains == ("example.org",)
    assert caplog.messages == ["configuration onionmx.toml: [own] is now [local]; version 0.3 will refuse the old name"]
    with pytest.raises(ConfigurationError, match=r"\[own\] is the old name of \[local\]"):
        Configuration.parse(b"[own]\n[local]\n", "onionmx.toml")
