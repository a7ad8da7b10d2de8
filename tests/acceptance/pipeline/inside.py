"""The proofs, one after the other, in a root of their own: `python3 -m tests.acceptance.pipeline.inside`."""

import time

from tests.acceptance.pipeline import host, job_machine, jobs


def main() -> None:
    host.set_up()
    for proof in (*jobs.PROOFS, job_machine.a_machine_for_a_job_is_closed_and_gone_after_it):
        began = time.monotonic()
        proof()
        host.assert_clean()
        print(f"{time.monotonic() - began:6.1f} s  {proof.__name__.replace('_', ' ')}")


if __name__ == "__main__":
    main()
