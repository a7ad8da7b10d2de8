"""Hosts that the configuration names, as getaddrinfo(3) finds them: with its own /etc/hosts and a DNS that records."""

import asyncio
import json
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path

import pytest

from onionmx.errors import HostError
from onionmx.net.names import Host, find_host
from tests.net.stranger import user_namespace
from tests.onions import make_onion

PACKAGE = Path(__file__).parents[2] / "onionmx"
HOSTS = """\
127.0.0.1 localhost
10.89.0.5 tor
9.9.9.9 stranger
8.8.8.8 mixed
10.89.0.6 mixed
0.0.0.0 blocked
224.0.0.1 group
::ffff:10.89.0.7 mapped
"""
# In namespaces of its own: mounts for three files of /etc, a network in which it may answer on port 53.
_PROGRAM = """
import asyncio, fcntl, json, os, socket, struct, subprocess, sys, threading
folder = sys.argv[1]
hosts = folder + "/hosts"
for name in ("hosts", "resolv.conf", "nsswitch.conf"):
    subprocess.run(["mount", "--bind", f"{folder}/{name}", f"/etc/{name}"], check=True)
SIOCSIFFLAGS, IFF_UP = 0x8914, 1  # netdevice(7)
fcntl.ioctl(socket.socket(), SIOCSIFFLAGS, struct.pack("16sh", b"lo", IFF_UP))
import dns.message, dns.rcode, dns.rrset
from onionmx.errors import HostError
from onionmx.net.names import Host, find_host

server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
asked = []

def serve():
    while True:
        packet, client = server.recvfrom(4096)
        query = dns.message.from_wire(packet)
        [question] = query.question
        asked.append(question.name.to_text())
        response = dns.message.make_response(query)
        if question.name.to_text() == "valkey.containers.example." and question.rdtype == 1:
            response.answer.append(dns.rrset.from_text(question.name, 60, "IN", "A", "10.89.0.8"))
        elif question.name.to_text() == "silent.example.":
            continue
        elif question.name.to_text() != "valkey.containers.example.":
            response.set_rcode(dns.rcode.NXDOMAIN)
        server.sendto(response.to_wire(), client)

threading.Thread(target=serve, daemon=True).start()

def found(name, **options):
    try:
        return list(find_host(name, **options))
    except HostError as error:
        return str(error)

async def moved():
    clock = [0.0]
    host = Host("tor", lambda: clock[0])
    seen = [await host.addresses()]
    text = open(hosts).read().replace("10.89.0.5 tor", "10.89.0.9 tor")
    open(hosts, "w").write(text)
    seen.append(await host.addresses())
    host.failed()  # within a second of the first question
    seen.append(await host.addresses())
    clock[0] = 2.0
    host.failed()
    seen += await asyncio.gather(host.addresses(), host.addresses())
    return seen

result = {name: found(name) for name in ("tor", "stranger", "mixed", "blocked", "group", "mapped", "localhost")}
result["anywhere"] = found("stranger", anywhere=True)
result["dns"] = found("valkey.containers.example")
result["unknown"] = found("nosuch.example")
result["silent"] = found("silent.example", within=0.3)
result["moved"] = asyncio.run(moved())
result["asked"] = sorted(set(asked))
print(json.dumps(result))
os._exit(0)  # one question never ends
"""
ONION = make_onion("a")


@user_namespace
def test_as_the_system_finds_them(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text(HOSTS)
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:30 attempts:1\n")
    (tmp_path / "nsswitch.conf").write_text("hosts: files dns\n")
    own = ["unshare", "--mount", "--net", sys.executable, "-c", _PROGRAM]
    ran = subprocess.run([*own, str(tmp_path)], check=False, capture_output=True, text=True, timeout=120)
    assert not ran.returncode, ran.stderr
    found = json.loads(ran.stdout)
    assert found["tor"] == ["10.89.0.5"]
    assert found["mixed"] == ["10.89.0.6"]
    assert found["mapped"] == ["10.89.0.7"]
    assert found["localhost"] == ["127.0.0.1"]
    assert found["stranger"].startswith("host stranger has the public address 9.9.9.9, and what is sent there would")
    assert found["anywhere"] == ["9.9.9.9"]
    assert found["blocked"] == "host blocked has no address"
    assert found["group"] == "host group has no address"
    assert found["dns"] == ["10.89.0.8"]
    assert found["unknown"] == "host nosuch.example cannot be found: Name or service not known"
    assert found["silent"] == "host silent.example: the system did not find it within 0.3 s"
    assert found["moved"] == [["10.89.0.5"]] * 3 + [["10.89.0.9"]] * 2
    assert found["asked"] == ["nosuch.example.", "silent.example.", "valkey.containers.example."]


def test_an_address_needs_no_system() -> None:
    assert find_host("192.0.2.1") == ("192.0.2.1",)
    assert find_host("9.9.9.9") == ("9.9.9.9",)  # an address that is written is meant
    host = Host("::1")
    host.failed()
    assert asyncio.run(host.addresses()) == ("::1",)


def test_this_machine_by_name() -> None:
    assert all(ip_address(address).is_loopback for address in find_host("localhost"))


@pytest.mark.parametrize("name", [ONION, f"a.{ONION}", "mx.onion", "onion", "MX.ONION."])
def test_no_name_of_tor_is_asked(name: str) -> None:
    with pytest.raises(HostError, match="is a name for Tor, and is asked nowhere else"):
        find_host(name)


@pytest.mark.source
def test_nothing_else_asks_the_system() -> None:
    asking = {path.name for path in PACKAGE.rglob("*.py") if "socket.getaddrinfo(" in path.read_text()}
    assert asking == {"names.py"}
