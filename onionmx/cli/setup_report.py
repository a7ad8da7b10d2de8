"""What `onionmx setup` prints: the plan, what was done, the proof."""

from collections.abc import Sequence
from typing import Any

import click

from onionmx.cli.options import write_json
from onionmx.errors import EXIT_FOUND, EXIT_TEMPORARY
from onionmx.setup.engine import Applied, Work
from onionmx.setup.manifest import Manifest
from onionmx.setup.plan import Plan
from onionmx.setup.prove import SetupProof
from onionmx.setup.put_back import KEPT_SUFFIX, restored
from onionmx.setup.steps import FileState, diff
from onionmx.setup.system import System
from onionmx.setup.undo import Undone

EXIT_PROBLEM = 1
_COLOURS = {"+": "green", "-": "red", "@": "cyan"}


def exit_code(applied: Applied, proof: SetupProof) -> int:
    """1 for a problem, 75 for what could not be told or is left to somebody, else 0."""
    if proof.problems:
        return EXIT_PROBLEM
    return EXIT_TEMPORARY if proof.unknown or applied.to_run else EXIT_FOUND


def report(system: System, plan: Plan, works: Sequence[Work], *, dry_run: bool) -> dict[str, Any]:
    """The plan for programs."""
    files = [{"path": path, "diff": text} for stage in _diffs(system, works) for path, text in stage]
    return {
        "dry_run": dry_run,
        "plan": {
            "files": files,
            "commands": [line for work in works for line in _commands(work)],
            "notes": [*_edited(works), *plan.notes],
        },
    }


def print_plan(system: System, plan: Plan, works: Sequence[Work]) -> None:
    """The plan for people."""
    if not any(works):
        click.echo("nothing to do: this host is set up as wished")
    for work, changes in zip(works, _diffs(system, works), strict=True):
        for _, text in changes:
            _print_diff(text)
        for line in _commands(work):
            click.echo(f"run: {line}")
    for note in [*_edited(works), *plan.notes]:
        click.echo(f"note: {note}")


def _edited(works: Sequence[Work]) -> list[str]:
    """What somebody should know before his words go."""
    paths = dict.fromkeys(path for work in works for path in sorted(work.edited))
    return [
        f"somebody has changed {path} within the lines of setup, which go: kept as {path}{KEPT_SUFFIX}"
        for path in paths
    ]


def _diffs(system: System, works: Sequence[Work]) -> list[list[tuple[str, str]]]:
    """Path and diff of each file, stage by stage; the second change of a file follows the first."""
    states: dict[str, FileState | None] = {}
    result = []
    for work in works:
        stage = []
        for change in work.changes:
            path = change.path
            now = states.get(path, system.read(path))
            states[path] = None if change.content is None else FileState(change.content)
            stage.append((path, diff(path, now, states[path])))
        result.append(stage)
    return result


def _commands(work: Work) -> list[str]:
    if not work:
        return []
    lines = [str(command) for command in work.stage.commands]
    lines += [f"systemctl disable --now {unit}" for unit in work.stale]
    return lines + [
        f"systemctl {'enable --now' if unit in work.units else 'restart'} {unit}" for unit in work.stage.units
    ]


def _print_diff(text: str) -> None:
    for line in text.splitlines():
        click.secho(line, fg=_COLOURS.get(line[:1]))


def print_proof(plan: Plan, applied: Applied, proof: SetupProof) -> None:
    """What came of it, for people."""
    click.echo("done" if applied.changed else "nothing was changed")
    for line in [*applied.warnings, *applied.kept]:
        click.echo(f"warning: {line}")
    if applied.to_run:
        click.echo("systemd does not run here: start these yourself, and run this again")
        for line in applied.to_run:
            click.echo(f"  {line}")
    if proof.onion:
        click.echo(f"onion: {proof.onion}")
        click.echo(f"its key is in {plan.ports.directory}: keep a copy; it is all that makes a host this onion")
    if proof.records:
        click.echo("published:" if proof.published else "the record to publish:")
        for line in proof.records:
            click.echo(f"  {line}")
    if plan.wishes.send:
        click.echo("to see which way a message really goes: onionmx selftest ADDRESS-OF-AN-ECHO (docs/selftest.md)")
    for line in proof.problems:
        click.echo(f"problem: {line}")
    for line in proof.unknown:
        click.echo(f"could not tell: {line}")


def undo_plan(system: System, manifest: Manifest) -> None:
    """What would be taken back, for people."""
    shown: set[str] = set()
    for part in reversed(manifest.parts):
        for unit in part.units:
            click.echo(f"run: systemctl disable --now {unit}")
        for file in part.files:
            if file.path not in shown:
                now = system.read(file.path)
                _print_diff(diff(file.path, now, restored(file, now)))
                shown.add(file.path)
        for words in part.back:
            click.echo(f"run: {' '.join(words)}")


def print_undone(undone: Undone) -> int:
    """What came of it, for people; gives the exit code."""
    for note in undone.notes:
        click.echo(f"note: {note}")
    for line in undone.problems:
        click.echo(f"problem: {line}")
    if undone.to_run:
        click.echo("systemd does not run here: start these yourself")
        for line in undone.to_run:
            click.echo(f"  {line}")
    click.echo("not all was taken back" if undone.is_unfinished else "taken back")
    return _undone_code(undone)


def report_undone(undone: Undone) -> int:
    """What came of it, for programs; gives the exit code."""
    code = _undone_code(undone)
    result = {"changed": True, "result": undone, "exit_code": code}
    write_json(result)
    return code


def _undone_code(undone: Undone) -> int:
    if undone.problems:
        return EXIT_PROBLEM
    return EXIT_TEMPORARY if undone.to_run else EXIT_FOUND
