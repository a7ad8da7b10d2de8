"""What docs/other-mtas.md has for MTAs that the tests cannot run: its lists, scripts and settings fit to each other."""

import json
import re
import subprocess
from pathlib import Path

from onionmx.config import Configuration, Export
from onionmx.mapfile.export import format_export
from onionmx.mapfile.pins import parse_pins
from tests.acceptance.documents import section, steps
from tests.e2e.programs import PROJECT, UNPACKED, find_program
from tests.mapfile.maps import A

DOCUMENT = (PROJECT / "docs/other-mtas.md").read_text()
DOMAINS = {"example.net": ((A, 25),), "xn--bcher-kva.example": ((A, 25),)}
SETTINGS = "/etc/onionmx/onionmx.toml"
DOMAINS_CONF = """\
Domains:
	example.org: nil
Routes:
	-
		ToDomain:
			- old.example
		Transport: onionmx
MonitorDNSBLs:
	- dnsbl.example
"""


def file_in(heading: str, path: str) -> str:
    """The lines that a section has for a file."""
    [step] = [step for step in steps(section(DOCUMENT, heading)) if step.file == path]
    return step.text


def configuration(heading: str) -> Configuration:
    return Configuration.parse(file_in(heading, SETTINGS).encode(), heading)


def exported(heading: str) -> tuple[Export, list[str]]:
    """The export of a section, and its lines."""
    [export] = configuration(heading).map.exports
    return export, format_export(DOMAINS, export).splitlines()


def tabbed(heading: str, first: str) -> str:
    """The block, indented by tabs, that begins with this line."""
    match = re.search(rf"^\t{first}\n(?:\t.*\n)+", section(DOCUMENT, heading), re.MULTILINE)
    assert match, first
    return re.sub(r"^\t", "", match[0], flags=re.MULTILINE)


def written_by_mox_script(folder: Path, names: str) -> "subprocess.CompletedProcess[str]":
    listed, script = folder / "list", folder / "script"
    listed.write_text(names)
    script.write_text(file_in("mox", "/usr/local/sbin/onionmx-mox"))
    return subprocess.run(["sh", script, folder, listed], check=False, capture_output=True, text=True)


def test_relay_has_answered_before_mox_gives_up() -> None:
    assert configuration("mox").relay.deadline < 30


def test_mox_script_puts_the_list_into_the_global_routes(tmp_path: Path) -> None:
    export, lines = exported("mox")
    file = tmp_path / "domains.conf"
    file.write_text(DOMAINS_CONF)
    expected = "Domains:\n\texample.org: nil\nMonitorDNSBLs:\n\t- dnsbl.example\nRoutes:\n\t-\n\t\tToDomain:\n"
    expected += "".join(f"\t\t\t- {line}\n" for line in lines) + "\t\tTransport: onionmx\n"
    assert lines == ["example.net", "xn--bcher-kva.example", ".onion"]
    for _ in range(2):
        assert written_by_mox_script(tmp_path, "".join(f"{line}\n" for line in lines)).returncode == 0
        assert file.read_text() == expected
    assert f"${{2:-{export.path}}}" in file_in("mox", "/usr/local/sbin/onionmx-mox")


def test_mox_script_without_its_list_leaves_the_routes_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "domains.conf"
    file.write_text(DOMAINS_CONF)
    script = tmp_path / "script"
    script.write_text(file_in("mox", "/usr/local/sbin/onionmx-mox"))
    done = subprocess.run(["sh", script, tmp_path, tmp_path / "none"], check=False, capture_output=True, text=True)
    assert done.returncode
    assert file.read_text() == DOMAINS_CONF


def test_mox_script_is_not_run_by_root() -> None:
    """The folder is mox's, which could lead root's writing elsewhere by a link."""
    drop_in = file_in("mox", "/etc/systemd/system/onionmx-map.service.d/mox.conf")
    assert "User=mox" in drop_in.splitlines()


def test_mox_connects_to_the_relay_by_the_transport_of_its_routes() -> None:
    transport = tabbed("mox", "Transports:")
    port = configuration("mox").relay.smtp_listen[0].rpartition(":")[2]
    assert f"\n\tonionmx:\n\t\tSMTP:\n\t\t\tHost: localhost\n\t\t\tPort: {port}\n" in transport
    assert Configuration().onion.forward == "127.0.0.2:25"
    assert "\t\t\t- 127.0.0.2\n" in tabbed("mox", "Listeners:")


def test_stalwart_finds_relay_and_list() -> None:
    found = [step.text for step in steps(section(DOCUMENT, "Stalwart")) if step.text.startswith("{")]
    lookup, route, strategy = (json.loads(text) for text in found)
    relay = configuration("Stalwart").relay
    assert f"{route['address']}:{route['port']}" in relay.lmtp_listen
    assert route["protocol"] == "lmtp"
    assert route["address"] in relay.clients
    assert f"IPAddressAllow={route['address']}" in DOCUMENT
    assert f"ListenStream={route['address']}:{route['port']}" in DOCUMENT
    assert lookup["url"] == f"http://{Configuration().serve.http_listen[0]}/domains"
    cases = strategy["route"]["match"]
    assert {case["then"] for case in cases} == {"'local'", f"'{route['name']}'"}
    looked_up = re.findall(r"key_exists\('(\w+)', ", json.dumps(cases))
    assert set(looked_up) == {lookup["namespace"]}


def test_pin_by_which_stalwart_knows_an_empty_list_is_one() -> None:
    match = re.search(r"`(list\.invalid +)<56 characters>\.onion`", DOCUMENT)
    assert match
    assert list(parse_pins("pins", f"{match[1]}{A}\n".encode()).entries) == ["list.invalid"]
    assert "!key_exists('onions', 'list.invalid')" in DOCUMENT


def test_maddy_looks_up_unicode_in_a_file_that_is_written() -> None:
    export, lines = exported("maddy")
    assert lines == ["example.net", "bücher.example"]
    text = section(DOCUMENT, "maddy")
    assert f"step file {export.path}\n" in text
    assert f"test -s {export.path}\n" in text
    assert f"tcp://{Configuration().relay.lmtp_listen[0]}\n" in text
    defined = set(re.findall(r"^    (?:table\.chain|target\.lmtp|msgpipeline) (\w+) \{$", text, re.MULTILINE))
    stock = {"outbound_delivery", "local_routing"}
    assert set(re.findall(r"^ .*&(\w+)", text, re.MULTILINE)) <= defined | stock
    for block in steps(text):
        assert block.text.count("{\n") == len(re.findall(r"^ *\}$", block.text, re.MULTILINE))


def test_expression_by_which_maddy_knows_names_under_onion() -> None:
    match = re.search(r'destination_in regexp "(.+)" "onion"', DOCUMENT)
    assert match
    addresses = ("a@x.onion", "a@onion", "a@b.onion.example", "a@xonion")
    assert [bool(re.fullmatch(match[1], address)) for address in addresses] == [True, True, False, False]


def test_lines_of_smtproutes() -> None:
    export, lines = exported("notqmail")
    relay = Configuration().relay.smtp_listen[0]
    names = ("example.net", "xn--bcher-kva.example", "bücher.example", ".onion")
    assert lines == [f"{name}:{relay}" for name in names]
    assert f"`ln -s {export.path} /var/qmail/control/smtproutes`" in DOCUMENT
    assert f"`{lines[-1]}`" in DOCUMENT


def test_hook_of_yunohost_changes_what_is_about_to_be_written(tmp_path: Path) -> None:
    ours, pending = tmp_path / "ours", tmp_path / "pending"
    folder = pending / "etc/postfix"
    for each in (ours, folder):
        each.mkdir(parents=True)
    (folder / "main.cf").write_text("mynetworks = 127.0.0.0/8 [::1]/128\n")
    (folder / "master.cf").write_text("smtp      inet  n       -       y       -       -       smtpd\n")
    (ours / "main.cf").write_text("mynetworks = 127.0.0.1/32 [::1]/128\n")
    (ours / "master.cf").write_text("127.0.0.2:25 inet  n    -       y       -       50      smtpd\n")
    hook = tmp_path / "hook"
    text = file_in("Servers built on Postfix", "/etc/yunohost/hooks.d/conf_regen/99-postfix")
    assert "/etc/onionmx/yunohost/" in text
    hook.write_text(text.replace("/etc/onionmx/yunohost/", f"{ours}/"))
    for when in ("post", "pre"):  # YunoHost runs it twice
        subprocess.run(["sh", hook, when, "", "", pending], check=True)
    environment = {"LD_LIBRARY_PATH": f"{UNPACKED}/usr/lib/postfix"}

    def asked(*words: str) -> list[str]:
        command = [str(find_program("postconf")), "-c", str(folder), *words]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        return done.stdout.splitlines()

    assert asked("-h", "mynetworks") == ["127.0.0.1/32 [::1]/128"]
    assert [line.split()[0] for line in asked("-M")] == ["smtp", "127.0.0.2:25"]
