"""What deploy/image/ does beside building: the bill of materials, the settled configuration, the health checks."""

import json
import re
import subprocess
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from threading import Thread

import pytest

from deploy.image.sbom import bill
from deploy.image.settle import settle
from onionmx.config import Configuration

IMAGE = Path(__file__).parents[2] / "deploy/image"
PACKAGES = "tor 0.4.9.15-1 amd64\nonionmx 1.2.3 amd64\nlibc6 2.41-12+deb13u5 amd64\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text('ID=debian\nVERSION_CODENAME="trixie"\n')
    information = tmp_path / "usr/lib/onionmx/lib/python3.13/site-packages/aiosmtpd-1.4.6.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: aiosmtpd\nVersion: 1.4.6\n")
    return tmp_path


def test_the_bill_has_packages_of_both_kinds(root: Path) -> None:
    found = json.loads(bill(root, PACKAGES, 0))
    assert found["metadata"]["component"]["purl"] == "pkg:deb/debian/onionmx@1.2.3?arch=amd64&distro=trixie"
    assert found["metadata"]["timestamp"] == "1970-01-01T00:00:00Z"
    assert [each["purl"] for each in found["components"]] == [
        "pkg:deb/debian/libc6@2.41-12%2Bdeb13u5?arch=amd64&distro=trixie",
        "pkg:deb/debian/tor@0.4.9.15-1?arch=amd64&distro=trixie",
        "pkg:pypi/aiosmtpd@1.4.6",
    ]


def test_the_bill_does_not_depend_on_the_order(root: Path) -> None:
    assert bill(root, PACKAGES, 5) == bill(root, "\n".join(reversed(PACKAGES.splitlines())), 5)


@pytest.mark.parametrize("packages", ["", "tor 1 amd64\n", "onionmx 1\n", "onionmx 1 a\nonionmx 2 a\n"])
def test_a_list_that_is_not_whole_is_refused(root: Path, packages: str) -> None:
    with pytest.raises((ValueError, TypeError)):
        bill(root, packages, 0)


def made(folder: Path, container: str) -> Path:
    """An image as buildah leaves it, in the form of `dir:`."""
    folder.mkdir()
    image = {"container": container, "config": {"Hostname": container[:12], "User": "65534:65534"}, "created": "x"}
    (folder / "c0ffee").write_text(json.dumps(image))
    manifest = {"config": {"digest": "sha256:c0ffee", "size": 1, "mediaType": "m"}, "layers": []}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_what_is_new_each_time_goes(tmp_path: Path) -> None:
    folders = [made(tmp_path / name, name * 32) for name in ("ab", "cd")]
    for folder in folders:
        settle(folder)
    first, second = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders)
    assert first == second
    manifest = json.loads(first.pop("manifest.json"))
    [(name, image)] = first.items()
    assert manifest["config"] == {"digest": f"sha256:{name}", "size": len(image), "mediaType": "m"}
    assert json.loads(image) == {"config": {"User": "65534:65534"}, "created": "x"}


class _Pages(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/well" else 503)
        self.end_headers()
        self.wfile.write(b"tor: it\x1b[31m is down\n")

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing: a unix socket has no address to log."""


def health(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-I", str(IMAGE / "health.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_health(tmp_path: Path) -> None:
    path = str(tmp_path / "control.sock")
    with ThreadingUnixStreamServer(path, _Pages) as server:
        Thread(target=server.serve_forever).start()
        try:
            well, ill = health(path, "/well"), health(path, "/ill")
        finally:
            server.shutdown()
    assert (well.returncode, well.stderr) == (0, "")
    assert ill.returncode == 1
    assert "503" in ill.stderr
    assert "\x1b" not in ill.stderr


def test_the_image_asks_the_relay_where_all_examples_have_it() -> None:
    """The doctor would be no health check: where nothing listens it has nothing to say."""
    image = re.search(r"^ +CMD (\[.*\])$", (IMAGE / "Containerfile").read_text(), re.MULTILINE)
    assert image
    program, path, page = json.loads(image[1])
    container = (IMAGE.parent / "podman/onionmx-relay.container").read_text()
    assert f"HealthCmd={program} {path} {page}\n" in container
    for name in ("podman/onionmx.toml", "compose/onionmx.toml"):
        assert Configuration.load(IMAGE.parent / name).relay.control == path
    assert f'control = "{path}"' in (IMAGE.parent / "nomad/onionmx.nomad.hcl").read_text()


def test_nobody_there_is_not_well(tmp_path: Path) -> None:
    found = health(str(tmp_path / "none"), "/status")
    assert found.returncode == 1
    assert "FileNotFoundError" in found.stderr
