"""tor at another address, as a container that was started anew, and at one of several that a name has."""

import subprocess
import sys
from pathlib import Path

from tests.net.stranger import user_namespace

PROJECT = Path(__file__).parents[2]
# In a namespace of mounts, for an /etc/hosts of its own.
_PROGRAM = """
import asyncio, os, socket, subprocess, sys
from pathlib import Path
from onionmx.tor.socks import Cause, SocksConnector, SocksError
from tests.mapfile.maps import A
from tests.relay.peer import Peer

hosts = Path(sys.argv[1])
subprocess.run(["mount", "--bind", hosts, "/etc/hosts"], check=True)

async def passes_a_stranger(port):
    os.seteuid(65533)
    stranger = socket.create_server(("127.0.0.4", port))
    os.seteuid(0)
    hosts.write_text("127.0.0.4 tor\\n127.0.0.5 tor\\n127.0.0.3 tor\\n")
    (await SocksConnector(f"tor:{port}", 60).connect((A, 25))).close()
    stranger.settimeout(0)
    try:
        stranger.accept()
    except BlockingIOError:
        stranger.close()
    else:
        raise AssertionError("somebody else was spoken to")

async def run():
    first, second = Peer(), Peer()
    hosts.write_text("127.0.0.2 tor\\n")
    async with await asyncio.start_server(first.serve, "127.0.0.2", 0) as server:
        port = server.sockets[0].getsockname()[1]
        connector = SocksConnector(f"tor:{port}", 60)
        connector.find()
        (await connector.connect((A, 25))).close()
    hosts.write_text("127.0.0.3 tor\\n")
    async with await asyncio.start_server(second.serve, "127.0.0.3", port):
        causes = []
        while not second.targets:
            try:
                (await connector.connect((A, 25))).close()
            except SocksError as error:
                causes.append(error.cause)
                await asyncio.sleep(0.05)
        await passes_a_stranger(port)
    assert (len(first.targets), len(second.targets)) == (1, 2)
    assert set(causes) == {Cause.PROXY_UNREACHABLE}, causes

asyncio.run(asyncio.wait_for(run(), 120))
"""


@user_namespace
def test_tor_is_found_where_it_is_now_and_beside_strangers(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.touch()
    own = ["unshare", "--mount", sys.executable, "-c", _PROGRAM, str(hosts)]
    ran = subprocess.run(own, check=False, capture_output=True, text=True, timeout=180, cwd=PROJECT)
    assert (ran.returncode, ran.stderr) == (0, "")
