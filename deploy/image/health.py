#!/usr/lib/onionmx/bin/python3 -I
"""Ask a daemon of onionmx at its control socket whether all is well, for the health checks of containers.

onionmx-health SOCKET PATH: exit code 0 where HTTP on that unix socket answers 200 to GET PATH, else 1 and why.
"""

import http.client
import socket
import sys

_TIMEOUT = 20.0  # seconds
_SHOWN = 500  # bytes of an answer


class _Unix(http.client.HTTPConnection):
    def connect(self) -> None:
        """Connect to the unix socket that the host name is."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_TIMEOUT)
        self.sock.connect(self.host)


def health(path: str, page: str) -> str:
    """Nothing where it is well, else what is wrong."""
    connection = _Unix(path)
    try:
        connection.request("GET", page, headers={"Host": "localhost"})
        answer = connection.getresponse()
        text = ascii(answer.read(_SHOWN).decode("ascii", "replace"))
    except (OSError, http.client.HTTPException) as error:
        return f"{path}: {type(error).__name__}: {error}"
    finally:
        connection.close()
    return "" if answer.status == http.client.OK else f"{path}: {answer.status} {text}"


if __name__ == "__main__":
    sys.exit(health(*sys.argv[1:]) or 0)
