"""Chromium without a window, and what it makes of a page."""

import subprocess
import zlib
from pathlib import Path

from .programs import find_program

TIMEOUT = 300.0
"""Seconds for a visit; one takes about two."""
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class Browser:
    """A browser with a profile of its own for each visit.

    Args:
        folder: for everything.
        names: that lead to 127.0.0.1, as an attacker's name server would have it.
    """

    def __init__(self, folder: Path, names: tuple[str, ...] = ()) -> None:
        self._folder = folder
        self._names = names
        self._visits = 0
        self.console: list[str] = []

    def document(self, url: str) -> str:
        """The document as it is after its scripts have run; `console` has what was said meanwhile."""
        return self._visit(url, "--dump-dom", "--timeout=20000", "--virtual-time-budget=20000")

    def picture(self, url: str, size: tuple[int, int], *, is_dark: bool = False) -> bytes:
        """A screenshot, as PNG."""
        path = self._folder / f"picture{self._visits}.png"
        scheme = f"--blink-settings=preferredColorScheme={0 if is_dark else 1}"
        self._visit(url, f"--screenshot={path}", f"--window-size={size[0]},{size[1]}", "--hide-scrollbars", scheme)
        return path.read_bytes()

    def _visit(self, url: str, *options: str) -> str:
        self._visits += 1
        home = self._folder / f"browser{self._visits}"
        home.mkdir()
        rules = ",".join(f"MAP {name} 127.0.0.1" for name in self._names) or "MAP none.invalid 127.0.0.1"
        command = [
            str(find_program("chromium")),
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *("--enable-logging=stderr", f"--user-data-dir={home}", f"--host-resolver-rules={rules}"),
            *(*options, url),
        ]
        environment = {"HOME": str(home), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment, timeout=TIMEOUT, cwd=home
        )
        self.console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stdout


def first_pixel(picture: bytes) -> tuple[int, ...]:
    """The upper left pixel of a PNG, which no filter changes (PNG specification, section 9.2)."""
    assert picture.startswith(_SIGNATURE)
    content, place = b"", len(_SIGNATURE)
    while place < len(picture):
        length, kind = int.from_bytes(picture[place : place + 4]), picture[place + 4 : place + 8]
        if kind == b"IDAT":
            content += picture[place + 8 : place + 8 + length]
        place += 12 + length
    return tuple(zlib.decompress(content)[1:4])
