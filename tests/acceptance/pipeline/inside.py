"""The proofs, one after the other, in a root of their own: `python3 -m tests.acceptance.pipeline.inside`."""

import time

from tests.acceptance.pipeline import host, jobs


def main() -> None:
    host.set_up()
    for proof in jobs.PROOFS:
        began = time.monotonic()
        proof()
        host.assert_clean()
        print(f"{time.monotonic() - began:6.1f} s  {proof.__name__.replace('_', ' ')}")


if __name__ == "__main__":
    main()
