"""A private Tor network in the network namespace of the pod, which reaches nothing else.

    python -m tests.acceptance.pod.network FOLDER

It prints, as JSON in one line each, the lines by which a tor joins it, and then for each onion that comes on standard
input that it can be reached. It ends with standard input.
"""

import json
import sys
from pathlib import Path

from tests.e2e.tor_network import TorNetwork
from tests.e2e.tor_node import COMMON


def main(folder: Path) -> None:
    """Run it."""
    with TorNetwork(parent=folder) as network:
        _say(network.known_authority + "".join(f"{line}\n" for line in COMMON.splitlines() if "Log " not in line))
        for onion in sys.stdin:
            network.client.wait_until_reachable(onion.strip())
            _say(onion.strip())


def _say(words: str) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
