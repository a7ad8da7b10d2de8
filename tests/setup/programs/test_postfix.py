"""main.cf and master.cf: as the documents have them, and read as Postfix reads them."""

import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.errors import ConfigurationError
from onionmx.setup.programs import postfix
from onionmx.setup.programs.blocks import split, stripped
from onionmx.setup.programs.main_cf import entries, parameter, services, with_new_parameters, with_parameter
from tests.e2e.postfix import documented, section
from tests.e2e.programs import PROJECT, UNPACKED, find_program

LINES = st.lists(
    st.sampled_from(
        ["a = 1", "a=2", " a = 3", "\tb", "", "  ", "# c = 4", " # d", "b = $a", "ab = x", "a", "=", "b =", "a = # e"]
    )
)
TEXTS = LINES.map(lambda lines: "".join(f"{line}\n" for line in lines))
RESULT = "onion:inet:127.0.0.1:10026"


def postconf(folder: Path, text: str, *words: str) -> "subprocess.CompletedProcess[str]":
    (folder / "main.cf").write_text(text)
    (folder / "master.cf").write_text(postfix.master("", send=True, listen=""))
    command = [str(find_program("postconf")), "-c", str(folder), *words]
    environment = {"LD_LIBRARY_PATH": f"{UNPACKED}/usr/lib/postfix"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@given(TEXTS)
def test_any_main_cf_has_entries_that_do_not_overlap(text: str) -> None:
    found = entries(text)
    lines = split(text)
    assert all(one.after <= other.first for one, other in pairwise(found))
    covered = {number for entry in found for number in range(entry.first, entry.after)}
    rest = [line.strip() for number, line in enumerate(lines) if number not in covered]
    assert all(not line or line.startswith("#") for line in rest)


@given(TEXTS, st.sampled_from(["a", "b"]))
def test_parameter_is_set_once_and_comes_out_without_a_trace(text: str, name: str) -> None:
    changed = with_parameter(text, name, "ours")
    found = parameter(changed, name)
    assert found
    assert found[1] == "ours\n"
    assert stripped(changed) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "transport_maps = hash:/etc/postfix/transport\n",
        "transport_maps =\n",
        "transport_maps = hash:/etc/postfix/transport,\n# between\n\n   lmdb:/etc/more\nrelayhost =",
        "transport_maps = hash:/old\ntransport_maps = hash:/new",
    ],
)
def test_real_postconf_reads_ours_in_front_of_theirs(tmp_path: Path, text: str) -> None:
    old = postconf(tmp_path, text, "-h", "transport_maps").stdout.strip()
    new = postfix.sending(text, domains=["example.org"], result=RESULT, table="cdb:/var/lib/onionmx/transport")
    done = postconf(tmp_path, new, "-h", "transport_maps")
    # What is there may lead a local domain to another host: "do not change" must not hide it.
    local = "" if old else r"regexp:{ { /(^|@)example\.org$$/ : } } "
    ours = f"{local}inline:{{ {{ .onion = {RESULT} }} }} cdb:/var/lib/onionmx/transport"
    assert done.stdout.strip() == f"{ours} {old}".strip()
    assert ("overriding earlier entry" in done.stderr) == (text.count("transport_maps") > 1)
    assert postconf(tmp_path, new, "-h", "onion_destination_concurrency_limit").stdout == "100\n"
    assert stripped(new) == text


def test_what_the_administrator_has_set_up_by_hand_is_left_alone() -> None:
    text = "transport_maps = cdb:/var/lib/onionmx/transport\nonion_destination_concurrency_limit = 7\n"
    new = postfix.sending(text, domains=["example.org"], result=RESULT, table="cdb:/var/lib/onionmx/transport")
    assert new.startswith(text)
    assert "inline" not in new
    assert "onion_destination_concurrency_limit = 100" not in new
    master = "onion unix - - n - 100 lmtp\n127.0.0.2:25 inet n - y - 50 smtpd\n"
    assert postfix.master(master, send=True, listen="127.0.0.2:25") == master


def test_lines_are_those_of_the_documents() -> None:
    sending = documented(section((PROJECT / "docs/postfix.md").read_text(), "Send"), {})
    receiving = documented(section((PROJECT / "docs/receiving.md").read_text(), "Postfix"), {})
    master = postfix.master("", send=True, listen="127.0.0.2:25")
    for block in (sending, receiving):
        documented_lines = [line for line in block["/etc/postfix/master.cf"].splitlines() if line]
        assert [line for line in documented_lines if line not in master.splitlines()] == []
    main = postfix.sending("", domains=["example.org"], result=RESULT, table="cdb:/var/lib/onionmx/transport")
    for line in sending["/etc/postfix/main.cf"].splitlines():
        assert not line or line in main.splitlines()
    main = postfix.receiving("mynetworks = 127.0.0.0/8 [::1]/128\n", "127.0.0.0/8 [::1]/128")
    assert receiving["/etc/postfix/main.cf"].strip() in main.splitlines()


@pytest.mark.parametrize(
    ("networks", "narrow"),
    [
        ("127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128", "127.0.0.1/32 [::1]/128"),
        ("127.0.0.0/8 192.0.2.0/24", "127.0.0.1/32 192.0.2.0/24"),
        ("127.0.0.2 127.0.0.1", "127.0.0.1/32"),
        ("hash:/etc/networks, 127.0.0.0/8", "hash:/etc/networks 127.0.0.1/32"),
        ("127.0.0.1/32 [::1]/128", None),
        ("127.0.0.1 [::1]/128 192.0.2.7", None),
        ("", None),
        ("!192.0.2.1 cidr:/etc/postfix/networks", None),
    ],
)
def test_networks_are_narrowed_where_they_hold_clients_of_the_service(networks: str, narrow: str | None) -> None:
    text = f"mynetworks = {networks}\n"
    new = postfix.receiving(text, networks)
    assert stripped(new) == text
    assert new == text if narrow is None else f"\nmynetworks = {narrow}\n" in new


def test_open_relay_is_not_narrowed_but_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"mynetworks has 0\.0\.0\.0/0"):
        postfix.receiving("", "0.0.0.0/0")


@given(st.lists(st.text(alphabet="0123456789./:[]!abf", max_size=20)))
def test_any_networks_are_narrowed_or_refused(items: list[str]) -> None:
    try:
        found = postfix.narrowed(items)
    except ConfigurationError:
        return
    assert found is None or postfix.narrowed(found) is None


def test_services_of_debians_master_cf() -> None:
    found = services((UNPACKED / "usr/share/postfix/master.cf.dist").read_text())
    assert {("smtp", "inet"), ("rewrite", "unix"), ("lmtp", "unix")} <= found


def test_no_new_parameters_no_block() -> None:
    assert with_new_parameters("a = 1\n", {}) == "a = 1\n"
