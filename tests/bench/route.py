"""The route helper as a whole process, against a bare interpreter and against the Perl of the original recipe."""

import sys
import sysconfig
from collections.abc import Iterator
from compileall import compile_dir
from contextlib import contextmanager
from pathlib import Path
from subprocess import run
from tempfile import TemporaryDirectory

import onionmx
from onionmx.tor.automap import parse_address, resolve
from tests.bench.measure import Row, at_most, medians, process, version_of
from tests.e2e.daemon import Daemon, free_ports
from tests.e2e.programs import find_program
from tests.mapfile.maps import A, make_map

LOOPBACK = "127.0.0.1"
ROUNDS = 200
LIMIT = 1.6
# The routine of the proposal of 2016, which Exim runs inside itself; here with a process of its own, like the helper.
PERL = """
my $resolver = Net::DNS::Resolver->new(nameservers => ["127.0.0.1"]);
$resolver->port($ARGV[1]);
my $query = $resolver->search($ARGV[0]);
foreach my $rr ($query->answer) { if ($rr->type eq "A") { print $rr->address; last; } }
"""


def measure() -> Iterator[Row]:
    """Time one lookup of a mapped domain with one target, in a map of 1000 domains, through a real tor."""
    compile_dir(Path(onionmx.__file__).parent, quiet=1)  # as pip does when it installs a package
    with TemporaryDirectory(prefix="onionmx-bench-") as name, _tor(Path(name)) as dnsport:
        Path(name).chmod(0o755)  # the helper that root runs is another user when it reads the map
        map_path = make_map(Path(name, "map.cdb"), {f"{number}.example": ((A, 25),) for number in range(1000)})
        address = resolve([A], parse_address(dnsport), 5)[A]
        if not isinstance(address, str):
            raise address
        expected = address.encode()
        helper = str(Path(sys.executable).with_name("onionmx-route"))
        port = dnsport.rpartition(":")[2]
        words = ["--map", str(map_path), "--dnsport", dnsport, "500.example"]
        by_pip = _installed_by_each_pip(Path(name))
        times = medians(
            {
                "python": process([sys.executable, "-c", "pass"]),
                "helper": process([helper, *words], expected),
                "perl": process(["perl", "-MNet::DNS::Resolver", "-e", PERL, A, port], expected),
            }
            | {pip: process([program, *words], expected) for pip, program in by_pip.items()},
            ROUNDS,
        )
    python = f"python -c pass ({sys.version.split()[0]})"
    perl = "perl -MNet::DNS::Resolver " + version_of(["perl", "-MNet::DNS", "-e", "print Net::DNS->VERSION"])
    yield Row(python, f"{times['python'] * 1000:.1f} ms")
    yield Row("onionmx-route, one target", f"{times['helper'] * 1000:.1f} ms")
    yield Row(perl, f"{times['perl'] * 1000:.1f} ms")
    yield at_most(f"onionmx-route / {python}", times["helper"] / times["python"], LIMIT)
    for pip in by_pip:
        yield at_most(f"onionmx-route by {pip} / {python}", times[pip] / times["python"], LIMIT)
    yield at_most(f"onionmx-route / {perl}", times["helper"] / times["perl"], 1)


def _installed_by_each_pip(folder: Path) -> dict[str, str]:
    """The helper from a wheel, as the pip of this set-up and the one that comes with Python put it in place."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "wheel")]
    run(build, cwd=Path(onionmx.__file__).parents[1], capture_output=True, check=True)
    (wheel,) = (folder / "wheel").iterdir()
    programs = {}
    for number in range(2):
        place = folder / str(number)
        run([sys.executable, "-m", "venv", place], check=True)
        python = str(place / "bin/python")
        pip = [python, "-m", "pip"] if number else [sys.executable, "-m", "pip", "--python", python]
        run([*pip, "install", "-qq", "--disable-pip-version-check", "--no-index", "--no-deps", str(wheel)], check=True)
        (packages,) = place.glob("lib/python*/site-packages")
        (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
        programs[" ".join(version_of([*pip, "--version"]).split()[:2])] = str(place / "bin/onionmx-route")
    return programs


@contextmanager
def _tor(folder: Path) -> Iterator[str]:
    """Run a tor that maps names, which needs no network, and give the address of its DNSPort."""
    (port,) = free_ports(1)
    dnsport = f"{LOOPBACK}:{port}"
    torrc = folder / "torrc"
    torrc.write_text(
        f"DataDirectory {folder}/tor\nSocksPort 0\nDNSPort {dnsport}\nAutomapHostsOnResolve 1\nLog notice stdout\n"
        # An authority that does not exist: this tor asks nobody else.
        f"DirAuthority nobody orport=9 no-v2 v3ident={'0' * 40} {LOOPBACK}:9 {'0' * 40}\n"
    )
    command: list[str | Path] = [find_program("tor"), "-f", torrc, "--defaults-torrc", folder / "none"]
    with Daemon("tor", command, folder) as daemon:
        daemon.wait_for_log("Opened DNS listener")
        yield dnsport
