"""Run tests, and measure how much of each room of onionmx they run: `make coverage`.

Arguments go to pytest. Programs that the tests start are measured too. Exit codes: that of pytest if it is not 0, and 1
where something is below its gate.
"""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from coverage import Coverage

import onionmx

PACKAGE = Path(onionmx.__file__).parent
ROOM, ALL = 90, 96
"""The gates, in percent of the lines of a room (a folder of the package) and of all lines."""


def main(arguments: list[str]) -> int:
    """Run the tests, print the table, and return the exit code."""
    with TemporaryDirectory(prefix="onionmx-coverage-") as folder:
        Path(folder).chmod(0o1777)  # what root runs is another user when it ends
        environment = os.environ | {"COVERAGE_FILE": f"{folder}/data"}
        if sys.version_info >= (3, 12):
            environment["COVERAGE_CORE"] = "sysmon"  # the faster one; 3.14 takes it by itself
        command = [sys.executable, "-m", "coverage", "run", "-m", "pytest", *arguments]
        if code := subprocess.run(command, env=environment, check=False).returncode:
            return code
        measured = Coverage(environment["COVERAGE_FILE"])
        measured.combine()
        return judge(*count(measured))


def count(measured: Coverage) -> tuple[Counter[str], Counter[str]]:
    """The lines of each room, and of them those that were run."""
    lines, run = Counter[str](), Counter[str]()
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).parts[0] if path.parent != PACKAGE else "files"
        _, all_lines, _, missing, _ = measured.analysis2(str(path))
        lines[room] += len(all_lines)
        run[room] += len(all_lines) - len(missing)
    return lines, run


def judge(lines: Counter[str], run: Counter[str]) -> int:
    """Print the table; return 1 if something is below its gate."""
    gates = dict.fromkeys(sorted(lines), ROOM) | {"all": ALL}
    lines["all"], run["all"] = lines.total(), run.total()
    code = 0
    for room, gate in gates.items():
        percent = 100 * run[room] / lines[room]
        sys.stdout.write(f"{room:14}{lines[room]:6} lines{percent:6.1f} %")
        sys.stdout.write(f"  below {gate} %\n" if percent < gate else "\n")
        code |= percent < gate
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
