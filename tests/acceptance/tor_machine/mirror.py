"""A mirror of the few packages that the machine's root is made of, with the archive's own signatures."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

from tests.acceptance.roots import Release
from tests.acceptance.sandbox import chroot

_LISTS = "var/lib/apt/lists"
_ARCHIVES = "var/cache/apt/mirrored"
_URIS = "root/uris"
_APT = (
    "apt-get -qq -o Dir::State::status=/dev/null -o Dir::Cache::archives=/var/cache/apt/mirrored"
    " --no-install-recommends"
)


def collect(root: Path, folder: Path) -> None:
    """Take the signed lists of a root, and download what tor needs, to serve both.

    Args:
        root: online, with lists that are up to date.
        folder: becomes the mirror.
    """
    chroot(
        root,
        f"mkdir -p /{_ARCHIVES}/partial\n"
        f"{_APT} --print-uris install tor libc-bin >/{_URIS}\n"
        f"{_APT} --download-only install tor libc-bin",
    )
    for line in (root / _URIS).read_text().splitlines():
        uri, name, *_ = line.split()
        place = folder / unquote(urlsplit(uri.strip("'")).path).lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(root / _ARCHIVES / name, place)
    for path in (root / _LISTS).glob("*_dists_*"):
        # host_path_dists_suite_..., with _ for each slash
        place = folder / path.name.partition("_")[2].replace("_", "/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)


def sources(release: Release, address: str) -> str:
    """The sources.list(5) of a release, with the mirror in place of Debian's."""
    return release.sources.replace("deb.debian.org", address)


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the parent's name
        """Say nothing."""


@contextmanager
def serving(folder: Path, address: str) -> Iterator[None]:
    """Serve the mirror on port 80."""
    with ThreadingHTTPServer((address, 80), partial(_Handler, directory=str(folder))) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
