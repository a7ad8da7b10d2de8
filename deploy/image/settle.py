"""Take out of an image what buildah says of the build: numbers that are new each time, of a container and its host.

    python3 settle.py FOLDER

FOLDER is an image in the form of `dir:` (containers-transports(5)), and is changed.
"""

import json
import sys
from hashlib import sha256
from pathlib import Path


def settle(folder: Path) -> None:
    """Rewrite the configuration of the image, and the manifest that names it by its digest.

    Args:
        folder: with `manifest.json`, and each blob under its digest.
    """
    manifest_file = folder / "manifest.json"
    manifest = json.loads(manifest_file.read_bytes())
    old = folder / manifest["config"]["digest"].removeprefix("sha256:")
    image = json.loads(old.read_bytes())
    for name in ("container", "container_config", "docker_version"):
        image.pop(name, None)
    image["config"].pop("Hostname", None)
    written = _written(image)
    digest = sha256(written).hexdigest()
    old.unlink()
    (folder / digest).write_bytes(written)
    manifest["config"] |= {"digest": f"sha256:{digest}", "size": len(written)}
    manifest_file.write_bytes(_written(manifest))


def _written(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


if __name__ == "__main__":
    settle(Path(sys.argv[1]))
