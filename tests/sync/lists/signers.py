"""Keys and signatures by the real ssh-keygen."""

import subprocess
from pathlib import Path

from onionmx.sync.lists.signature import NAMESPACE


class Key:
    """A key pair, and who has it.

    Args:
        folder: where it is made.
        principal: the name in the file of allowed signers.
    """

    def __init__(self, folder: Path, principal: str, kind: str = "ed25519") -> None:
        self.principal = principal
        self.path = folder / f"{principal}.{kind}.key"
        self._run("-q", "-t", kind, "-N", "", "-C", principal, "-f", str(self.path))

    def line(self, options: str = f'namespaces="{NAMESPACE}"') -> str:
        """What lets it sign."""
        kind, key, _ = self.path.with_suffix(".key.pub").read_text().split(" ", 2)
        return f"{self.principal} {options} {kind} {key}\n"

    def sign(self, file: Path, namespace: str = NAMESPACE) -> None:
        """Write the signature beside a file."""
        Path(f"{file}.sig").unlink(missing_ok=True)
        self._run("-q", "-Y", "sign", "-f", str(self.path), "-n", namespace, str(file))

    @staticmethod
    def _run(*words: str) -> None:
        subprocess.run(["ssh-keygen", *words], check=True, capture_output=True, timeout=300)
