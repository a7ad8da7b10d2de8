"""The route helper as Exim runs it: a process with arguments, output and exit code."""

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT, CompletedProcess, run
from sys import executable

import pytest
from cdblib import Writer

from onionmx.fallback.writing import write_released
from onionmx.mapfile.cdb import DEFERS, DEFERS_WHY
from onionmx.privileges import NOBODY
from tests.e2e.rights import users
from tests.fallback.test_released import FAULTS as RELEASED_FAULTS
from tests.mapfile.maps import A, B, C, make_map
from tests.net.stranger import folder_for_others, root_only
from tests.onions import IMPOSSIBLE_ONIONS, V2_ONION, make_onion
from tests.tor.test_automap import virtual

HELPER = Path(executable).with_name("onionmx-route")


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder for maps: the helper that root runs is another user when it reads one."""
    with folder_for_others() as folder:
        yield folder


@pytest.fixture
def dnsport() -> Iterator[str]:
    """Maps each name to an address that tells its first letter, and is silent for names that begin with a digit."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))

        def serve() -> None:
            while packet := udp.recvfrom(512):
                if packet[0] == b"stop":
                    return
                udp.sendto(virtual(packet[0], f"127.192.0.{packet[0][13]}"), packet[1])

        server = threading.Thread(target=serve)
        server.start()
        host, port = udp.getsockname()
        yield f"{host}:{port}"
        udp.sendto(b"stop", (host, port))
        server.join()


@pytest.fixture
def map_path(tmp_path: Path) -> Path:
    return make_map(
        tmp_path / "map.cdb",
        {"example.org": ((A, 25),), "two.example": ((A, 2525), (B, 25)), "xn--bcher-kva.example": ((C, 25),)},
    )


def helper(*arguments: str | Path) -> CompletedProcess[str]:
    return run([HELPER, *arguments], capture_output=True, text=True, check=False)


def address(onion: str) -> str:
    return f"127.192.0.{ord(onion[0])}"


@pytest.mark.parametrize("domain", ["example.org", "EXAMPLE.org."])
def test_found(map_path: Path, dnsport: str, domain: str) -> None:
    result = helper("--map", map_path, "--dnsport", dnsport, domain)
    assert (result.returncode, result.stdout, result.stderr) == (0, address(A) + "\n", "")


def test_targets_with_ports_in_route_order(map_path: Path, dnsport: str) -> None:
    result = helper(f"--map={map_path}", f"--dnsport={dnsport}", "--timeout=50", "two.example")
    assert (result.returncode, result.stdout) == (0, f"{address(A)}::2525:{address(B)}\n")


def test_unicode_domain(map_path: Path, dnsport: str) -> None:
    assert helper("--map", map_path, "--dnsport", dnsport, "bücher.example").stdout == address(C) + "\n"


def test_no_route(map_path: Path, dnsport: str) -> None:
    result = helper("--map", map_path, "--dnsport", dnsport, "example.net")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "onionmx-route: example.net: no entry in the map\n"


def test_onion_domain_leads_to_itself_and_never_to_the_next_router(map_path: Path, dnsport: str) -> None:
    result = helper("--map", map_path, "--dnsport", dnsport, A)
    assert (result.returncode, result.stdout) == (0, address(A) + "\n")
    result = helper("--map", map_path, "--dnsport", dnsport, f"a.b.{A.upper()}.")
    assert (result.returncode, result.stdout) == (0, address(A) + "\n")


@pytest.mark.parametrize("name", IMPOSSIBLE_ONIONS.values(), ids=list(IMPOSSIBLE_ONIONS))
def test_name_that_no_onion_service_can_have_is_refused(map_path: Path, name: str) -> None:
    """With 1 the next router would ask the open DNS."""
    for given in (name, f"{name.upper()}."):
        result = helper("--map", map_path, given)
        assert (result.returncode, result.stdout) == (68, "")
        assert result.stderr.startswith(f"onionmx-route: {given}: ")


def test_map_goes_before_what_a_name_under_onion_says(tmp_path: Path, dnsport: str) -> None:
    path = make_map(tmp_path / "map.cdb", {A: ((B, 25),), "mapped.onion": ((C, 25),)})
    assert helper("--map", path, "--dnsport", dnsport, A).stdout == address(B) + "\n"
    assert helper("--map", path, "--dnsport", dnsport, "mapped.onion").stdout == address(C) + "\n"


def test_released_domain_has_no_route(tmp_path: Path, map_path: Path, dnsport: str) -> None:
    released = tmp_path / "released.cdb"
    write_released(released, ("example.org", "xn--bcher-kva.example", A))
    options = ("--map", map_path, "--released", released, "--dnsport", dnsport)
    for domain in ("example.org", "b\u00fccher.example"):
        result = helper(*options, domain)
        assert (result.returncode, result.stdout) == (1, "")
        assert result.stderr == f"onionmx-route: {domain}: released by the fallback rules\n"
    assert helper(*options, "two.example").returncode == 0
    assert helper(*options, A).stdout == address(A) + "\n"


@pytest.mark.parametrize("fault", RELEASED_FAULTS)
def test_no_fault_of_the_released_file_takes_a_route_away(
    tmp_path: Path, map_path: Path, dnsport: str, fault: str
) -> None:
    released = tmp_path / "released.cdb"
    write_released(released, ("example.org",))
    RELEASED_FAULTS[fault](released)
    result = helper("--map", map_path, "--released", released, "--dnsport", dnsport, "example.org")
    assert (result.returncode, result.stdout, result.stderr) == (0, address(A) + "\n", "")


def test_map_that_cannot_be_read_goes_before_what_is_released(tmp_path: Path) -> None:
    write_released(tmp_path / "released.cdb", ("example.org",))
    result = helper("--map", tmp_path / "none", "--released", tmp_path / "released.cdb", "example.org")
    assert (result.returncode, result.stdout) == (75, "")


def test_value_that_defers_is_temporary_and_says_why(tmp_path: Path, dnsport: str) -> None:
    path = make_map(tmp_path / "map.cdb", {"example.org": DEFERS, A: DEFERS})
    for domain in ("example.org", A):
        result = helper("--map", path, "--dnsport", dnsport, domain)
        assert (result.returncode, result.stdout) == (75, "")
        assert result.stderr == f"onionmx-route: {domain}: {DEFERS_WHY}\n"


def test_invalid_target_is_dropped_and_said(tmp_path: Path, dnsport: str) -> None:
    path = tmp_path / "map.cdb"
    bad = make_onion(1, spoil_checksum=True)
    with path.open("wb") as file, Writer(file) as writer:
        writer.put(b"example.org", f"{bad} {A}".encode())
        writer.put(b"dead.example", f"{bad} {V2_ONION}".encode())
        writer.put(b"junk.example", b"\xff\0")
    result = helper("--map", path, "--dnsport", dnsport, "example.org")
    assert (result.returncode, result.stdout) == (0, address(A) + "\n")
    assert "left out: " in result.stderr
    assert "wrong checksum" in result.stderr
    for domain in ("dead.example", "junk.example"):
        result = helper("--map", path, "--dnsport", dnsport, domain)
        assert (result.returncode, result.stdout) == (75, "")
        assert f"{domain}: no usable target" in result.stderr


def test_warning_does_not_become_part_of_the_host_list(tmp_path: Path, dnsport: str) -> None:
    """Exim's ${run} reads standard output and standard error through one pipe."""
    path = tmp_path / "map.cdb"
    with path.open("wb") as file, Writer(file) as writer:
        writer.put(b"example.org", f"{V2_ONION} {A}".encode())
    arguments: list[str | Path] = [HELPER, "--map", path, "--dnsport", dnsport, "example.org"]
    result = run(arguments, stdout=PIPE, stderr=STDOUT, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, address(A) + "\n")


def test_tor_that_does_not_answer(map_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        port = f"127.0.0.1:{udp.getsockname()[1]}"
        result = helper("--map", map_path, "--dnsport", port, "--timeout", "0.2", "example.org")
        assert (result.returncode, result.stdout) == (75, "")
        assert "did not answer within 0.2 s" in result.stderr
    result = helper("--map", map_path, "--dnsport", port, "example.org")
    assert (result.returncode, result.stdout) == (75, "")
    assert "is tor running?" in result.stderr


@root_only
def test_port_of_nobody_is_not_tors_where_root_became_nobody(map_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        os.fchown(udp.fileno(), NOBODY, NOBODY)  # as if nobody had opened it
        udp.bind(("127.0.0.1", 0))
        words = ["--map", str(map_path), "--dnsport", f"127.0.0.1:{udp.getsockname()[1]}", "example.org"]
        with users("root:x:0:0::/root:/bin/sh\n") as before:
            result = run([*before, str(HELPER), *words], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (75, "")
    assert f"user {NOBODY} listens at" in result.stderr


@pytest.mark.parametrize("content", [None, b"", b"\x7fELF" * 1000])
def test_map_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "map.cdb"
    if content is not None:
        path.write_bytes(content)
    for domain in ("example.org", A):
        result = helper("--map", path, domain)
        assert (result.returncode, result.stdout) == (75, "")
        assert str(path) in result.stderr
        assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        [""],
        ["a.example", "b.example"],
        ["user@example.org"],
        ["-x"],
        ["--map"],
        ["--map=", "example.org"],
        ["--dnsport", "localhost:53", "example.org"],
        ["--timeout", "0", "example.org"],
        ["--timeout", "nan", "example.org"],
        ["--timeout", "61", "example.org"],
        ["--timeout", "soon", "example.org"],
    ],
)
def test_usage(arguments: list[str]) -> None:
    result = helper(*arguments)
    assert (result.returncode, result.stdout) == (64, "")
    assert result.stderr.startswith("onionmx-route: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("domain", ["-x.example", "x-.example", "x y.example", "x" * 300, "a..b", "[192.0.2.1]", "x_y"])
def test_what_can_be_no_domain_has_no_route(map_path: Path, domain: str) -> None:
    result = helper("--map", map_path, "--", domain)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"onionmx-route: {domain}: no entry in the map\n"


@pytest.mark.parametrize("domain", ["\u2603.example", b"\xff.example"])
def test_what_cannot_be_converted_could_not_be_told(map_path: Path, domain: str) -> None:
    result = helper("--map", map_path, "--", domain)
    assert (result.returncode, result.stdout) == (75, "")
    assert "is not a valid internationalized domain" in result.stderr
    assert result.stderr.count("\n") == 1


def test_locale_does_not_matter(map_path: Path, dnsport: str) -> None:
    """Exim writes UTF-8; read as Latin-1, the domain would be another one, and not in the map."""
    for locale in ("C", "C.UTF-8", "en_US.ISO-8859-1"):
        arguments: list[str | Path] = [HELPER, "--map", map_path, "--dnsport", dnsport, "bücher.example"]
        environment = {"LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
        result = run(arguments, capture_output=True, env=environment, check=False)
        assert result.stdout == f"{address(C)}\n".encode()
        result = run([*arguments[:-1], "grün.example"], capture_output=True, env=environment, check=False)
        assert result.stderr == "onionmx-route: grün.example: no entry in the map\n".encode()


CRASHES = {
    "no memory": "raise MemoryError",
    "interrupted": "raise KeyboardInterrupt",
    "a mistake": "raise ValueError('one\\ntwo')",
    "an early end": "raise SystemExit(1)",
    "too deep": "exec('def f(): f()\\nf()')",
}


@pytest.mark.parametrize("crash", CRASHES.values(), ids=list(CRASHES))
def test_an_unforeseen_exception_is_no_answer(map_path: Path, crash: str) -> None:
    program = f"import sys, onionmx.route as r\ndef crash(*_): {crash}\nr.MapReader = crash\nsys.exit(r.main())"
    command: list[str | Path] = [executable, "-c", program, "--map", map_path, "example.net"]
    result = run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (75, "")
    assert result.stderr.startswith("onionmx-route: internal error: ")
    assert result.stderr.count("\n") == 1
    assert "Traceback" in run([*command, "--debug"], capture_output=True, text=True, check=False).stderr


def test_output_that_cannot_be_written_is_no_answer(map_path: Path, dnsport: str) -> None:
    arguments = f"{HELPER} --map {map_path} --dnsport {dnsport}"
    for line, code in {
        f"{arguments} example.org >/dev/full": 75,
        f"{arguments} example.org >&-": 75,
        f"{arguments} example.org >&- 2>&-": 75,
        f"{arguments} example.org 2>&-": 0,
        f"{arguments} example.net 2>/dev/full": 1,
        f"{arguments} example.net 2>&-": 1,
        f"{arguments} --help >/dev/full": 75,
    }.items():
        assert run(["sh", "-c", line], stdin=DEVNULL, capture_output=True, check=False).returncode == code, line


def test_help_and_version() -> None:
    assert "--dnsport HOST:PORT" in helper("--help").stdout
    assert helper("--version").stdout.startswith("onionmx-route ")
