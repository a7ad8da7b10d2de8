"""/etc/resolv.conf as glibc reads it, and with glibc itself beside."""

import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.dns.resolv_conf import MOST, has_trust_ad, read_resolv_conf, system_resolvers
from onionmx.errors import ConfigurationError
from tests.small_disk import with_own_mounts

# The beginning of struct __res_state (resolv.h): two int, one long, the number, and sockaddr_in of each.
GLIBC = """
import ctypes, socket, struct
libc = ctypes.CDLL("libc.so.6")
state = ctypes.create_string_buffer(2048)
assert libc.__res_ninit(state) == 0
(count,) = struct.unpack_from("i", state, 16)
print(bool(struct.unpack_from("L", state, 8)[0] & 0x04000000))  # RES_TRUSTAD (resolv.h)
for number in range(count):
    family, _, address = struct.unpack_from("=HH4s", state, 20 + 16 * number)
    print(socket.inet_ntoa(address) if family == socket.AF_INET else "IPv6")
"""
IN_ITS_PLACE = """
mount --bind "$0" /etc/resolv.conf || exit
"$@"
code=$?
umount /etc/resolv.conf
exit $code
"""
CASES = {
    "plain": (b"nameserver 127.0.0.1\nnameserver 192.0.2.1\n", ["127.0.0.1", "192.0.2.1"]),
    "port": (b"nameserver 127.0.0.3#53\nnameserver 127.0.0.2\n", ["127.0.0.2"]),
    "comment": (b"nameserver\t 127.0.0.2 ;x\n# nameserver 127.0.0.3\n;nameserver 127.0.0.4\n", ["127.0.0.2"]),
    "name first": (b"nameserver localhost\nnameserver 127.0.0.2\n", ["127.0.0.2"]),
    "comma": (b"nameserver 127.0.0.1,\nnameserver 127.0.0.2\n", ["127.0.0.2"]),
    "bytes": (b"# caf\xe9\nsearch \xff\nnameserver 127.0.0.2 \xfc\n", ["127.0.0.2"]),
    "short": (b"nameserver 127.2\n", ["127.0.0.2"]),
    "hexadecimal": (b"nameserver 0x7f.0.0.2\n", ["127.0.0.2"]),
    "indented": (b" nameserver 127.0.0.3\nnameserver 127.0.0.2\n", ["127.0.0.2"]),
    "no blank": (b"nameserver127.0.0.3\nnameservers 127.0.0.4\nnameserver 127.0.0.2", ["127.0.0.2"]),
    "upper case": (b"NAMESERVER 127.0.0.3\nnameserver 127.0.0.2\n", ["127.0.0.2"]),
    "carriage return": (b"nameserver 127.0.0.3\r\nnameserver 127.0.0.2\n", ["127.0.0.2"]),
    "nothing": (b"nameserver \nnameserver\nnameserver 127.0.0.2\n", ["127.0.0.2"]),
    "four": (b"nameserver 127.0.0.2\n" * 4, ["127.0.0.2"] * 3),
}
OPTIONS = {
    "none": b"",
    "options trust-ad": b"options trust-ad",
    "with others": b"options edns0\ttrust-ad ndots:2",
    "second line": b"options edns0\noptions trust-ad\noptions ndots:2",
    "longer word": b"options trust-adx",
    "end of a word": b"options xtrust-ad",
    "behind a comment": b"options edns0 # trust-ad",
    "comment": b"#options trust-ad",
    "indented": b" options trust-ad",
    "upper case": b"options TRUST-AD",
    "another line": b"option trust-ad",
    "no blank": b"optionstrust-ad",
    "carriage return": b"options trust-ad\r",
    "NUL": b"options \0 trust-ad",
}


@pytest.mark.parametrize(("content", "addresses"), CASES.values(), ids=list(CASES))
def test_what_glibc_reads(tmp_path: Path, content: bytes, addresses: list[str]) -> None:
    path = tmp_path / "resolv.conf"
    path.write_bytes(content)
    assert list(system_resolvers(path).addresses) == addresses
    assert in_glibc(path) == (False, addresses)


@pytest.mark.parametrize("line", OPTIONS.values(), ids=list(OPTIONS))
def test_whether_glibc_trusts_ad(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "resolv.conf"
    path.write_bytes(b"nameserver 127.0.0.2\n" + line + b"\n")
    found = system_resolvers(path)
    assert in_glibc(path) == (found.trusts_ad, list(found.addresses))


def in_glibc(path: Path) -> tuple[bool, list[str]]:
    """What glibc makes of the file: whether it trusts AD, and the addresses."""
    command: list[str | Path] = [*with_own_mounts(), "sh", "-c", IN_ITS_PLACE, path, sys.executable, "-c", GLIBC]
    trusts, *addresses = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    return trusts == "True", addresses


def test_ipv6() -> None:
    addresses, wrong = read_resolv_conf(b"nameserver ::1\nnameserver fe80::1%lo\nnameserver [::1]:53\n")
    assert addresses == ["::1", "fe80::1%lo"]
    assert wrong == [(3, "[::1]:53")]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"#\nnameserver localhost\n", ":2: 'localhost' is no IP address"),
        (b"nameserver 127.0.0.1,\n", ":1: '127.0.0.1,' is no IP address"),
        (b"nameserver caf\xe9\n", r":1: 'caf\\xe9' is no IP address"),
        (b"search example.org\n", "has no nameserver line"),
        (None, "No such file or directory"),
    ],
)
def test_no_resolver_is_a_mistake_with_its_line(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "resolv.conf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        system_resolvers(path)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)


lines = st.one_of(
    st.binary(max_size=30),
    st.binary(max_size=20).map(b"nameserver ".__add__),
    st.binary(max_size=20).map(b"options trust-ad".__add__),
    st.sampled_from([b"nameserver 127.0.0.1", b"nameserver ::1", b"nameserver 1.2.3.4#x", b"# x"]),
)


@given(st.lists(lines).map(b"\n".join))
def test_any_content_is_read(content: bytes) -> None:
    addresses, wrong = read_resolv_conf(content)
    assert isinstance(has_trust_ad(content), bool)
    assert len(addresses) <= MOST
    for address in addresses:
        ip_address(address.partition("%")[0])
    assert all(0 < number <= content.count(b"\n") + 1 for number, _ in wrong)
