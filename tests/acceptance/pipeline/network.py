"""What jobs reach in the network: the rules of deploy/ci/onionmx-ci.nft, on hosts of the test's own."""

import socket
import subprocess
from contextlib import suppress
from pathlib import Path

from tests.acceptance.pipeline import host
from tests.acceptance.pipeline.runner import Runner
from tests.e2e.daemon import START_TIMEOUT

_MIB = 2**20


def _assert_others_are_not_cut_off(server: socket.socket) -> None:
    """A program of the host that closes its connection is still heard to the end."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(server.getsockname())
        program, _ = server.accept()
        program.setblocking(False)  # noqa: FBT003
        sent, heard = 0, 0
        with suppress(BlockingIOError):
            while True:
                sent += program.send(bytes(_MIB))
        program.close()
        client.settimeout(START_TIMEOUT)
        while data := client.recv(_MIB):
            heard += len(data)
        assert heard == sent


def the_network_of_jobs_ends_at_the_allowed_hosts() -> None:
    rules = Path("deploy/ci/onionmx-ci.nft").read_text()
    subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)
    host.offer_network()
    gitlab, neighbour = socket.create_server(("192.0.2.1", 443)), socket.create_server(("192.0.2.2", 443))
    loopback = socket.create_server(("127.0.0.1", 443))
    servers = (gitlab, neighbour, loopback)
    for server in servers:
        server.setblocking(False)  # noqa: FBT003
    gitlab.settimeout(START_TIMEOUT)
    _assert_others_are_not_cut_off(neighbour)

    def answer() -> None:
        gitlab.accept()[0].close()

    # 10.0.2.2 is how slirp4netns calls the loopback of the host, where that is allowed.
    addresses = "192.0.2.1 192.0.2.2 127.0.0.1 10.0.2.2"
    reach = f"for at in {addresses}; do nc -w 5 $at 443 </dev/null && echo reached $at || echo not $at; done"
    host.write_settings(cgroups=False, network="slirp4netns")
    with Runner() as job:
        assert job.begin() == 0
        assert job.script("build_script", reach, answer) == 0, job.log
    gitlab.setblocking(False)  # noqa: FBT003
    host.write_settings(cgroups=False)
    for server in servers:
        with suppress(BlockingIOError):
            server.accept()
            raise AssertionError(f"{server}: a job reached it")
        server.close()
    subprocess.run(["nft", "delete", "table", "inet", "onionmx_ci"], check=True)
