"""Run all benches, or those that are named, and print a table; exit 1 if a figure is not reached."""

import sys

from rich.console import Console
from rich.table import Table

from tests.bench import bulk, doctor, guard, lookup, mapfile, publish, relay, relay_dead, route, state
from tests.bench.scale import bench as scale
from tests.bench.tor import bench as tor
from tests.bench.tor import frozen, large, stopped

BENCHES = {
    "route": route.measure,
    "mapfile": mapfile.measure,
    "relay": relay.measure,
    "dead": relay_dead.measure,
    "tor": tor.measure,
    "large": large.measure,
    "stopped": stopped.measure,
    "frozen": frozen.measure,
    "scale": scale.measure,
    "publish": publish.measure,
    "doctor": doctor.measure,
    "guard": guard.measure,
    "state": state.measure,
    "bulk": bulk.measure,
    "lookup": lookup.measure,
}
MARKS = {True: "reached", False: "MISSED", None: ""}


def main(names: list[str]) -> int:
    """Run the benches of these names."""
    table = Table("measured", "figure", "to reach", "", box=None, pad_edge=False)
    missed = 0
    for name in names or BENCHES:
        for row in BENCHES[name]():
            table.add_row(row.what, row.figure, row.target, MARKS[row.reached])
            missed += row.reached is False
    Console(highlight=False, width=140).print(table)
    return 1 if missed else 0


sys.exit(main(sys.argv[1:]))
