"""`onionmx machine`."""

import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial

import click

from onionmx.cli.options import Seconds, json_option, write_json
from onionmx.errors import EXIT_FOUND, EXIT_NO_ROUTE, EXIT_TEMPORARY, ConfigurationError, ControlError
from onionmx.machine.build import build as build_root
from onionmx.machine.build import versions
from onionmx.machine.change import Changed, MachineChange, tor_of
from onionmx.machine.places import ROOTS, UNIT
from onionmx.machine.roots import Roots
from onionmx.machine.run import check_programs
from onionmx.machine.service import Service

_PATIENCE = 180.0  # seconds; a tor that comes back is ready in a few, and in a minute where its guards are gone
_NOT_READY = EXIT_NO_ROUTE
_wait_option = click.option(
    "--wait",
    type=Seconds(1, 3600),
    default=_PATIENCE,
    show_default=True,
    help="Seconds until tor must have its onions again, and be ready if it was; otherwise the old root is restored.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Run tor in a machine of its own (systemd-nspawn): build its root, update it, roll it back.

    The root is read-only and has nothing but tor; keys and state are outside of it, in /var/lib/onionmx-tor. Units and
    settings are those of deploy/nspawn; docs/tor-machine.md says how to install them.
    """


@command.command()
@json_option
def build(*, as_json: bool) -> None:
    """Build the root from the host's release and apt sources. If there is one, nothing is done.

    Exit codes: 0 it is there; 75 tor could not be downloaded, or another run is at work; 78 a program or a
    file of the settings is missing, tor refuses torrc, or you are not root.
    """
    changed = _change(_PATIENCE).build()
    what = f"built the root with tor {changed.tor}: systemctl enable --now {UNIT}"
    _tell(changed, what if changed.changed else f"there is a root with tor {changed.tor}", as_json=as_json)


@command.command()
@_wait_option
@json_option
def update(wait: float, *, as_json: bool) -> None:
    """Build a new root, and swap it in if anything in it is new; a machine that runs is restarted.

    tor in the new root checks torrc first. If tor then does not come up with the same onions, the old root is
    restored. Without a terminal nothing is printed unless something changed.

    Exit codes: 0 up to date; 75 tor could not be downloaded, another run is at work, or the old root was
    restored; 78 there is no root, a program is missing, tor refuses torrc, or you are not root.
    """
    changed = _change(wait).update()
    _tell(changed, f"{_what(changed)}; the old root is kept for a rollback", as_json=as_json)


@command.command()
@_wait_option
@json_option
def rollback(wait: float, *, as_json: bool) -> None:
    """Go back to the root before the last update; a second rollback undoes that.

    Exit codes: 0 done; 75 tor did not come up with it, so this was undone, or another run is at work; 78
    there is none, or you are not root.
    """
    changed = _change(wait).rollback()
    _tell(changed, _what(changed), as_json=as_json)


@command.command()
@json_option
def status(*, as_json: bool) -> int:
    """Show the root, and what tor in it says.

    Exit codes: 0 tor is ready; 1 there is no root, or tor is not running or not ready; 75 it runs and cannot be
    asked; 78 you are not root.
    """
    _check_root()
    roots, service = Roots(ROOTS), Service()
    current, previous = roots.current, roots.previous
    is_active, look, why = service.is_active(), None, ""
    if is_active:
        try:
            look = service.look()
        except ControlError as error:
            why = str(error)
    if as_json:
        write_json(
            {
                "root": current and {"name": current.name, "packages": versions(current)},
                "previous": previous and {"name": previous.name, "packages": versions(previous)},
                "on_trial": roots.way_back is not None,
                "active": is_active,
                "tor": look and asdict(look),
                "why": why,
            }
        )
    else:
        click.echo(f"root: tor {tor_of(current)}" if current else "root: none; build it with onionmx machine build")
        if previous:
            click.echo(f"previous: tor {tor_of(previous)}")
        if roots.way_back:
            click.echo("trial: the root has not been found sound yet")
        click.echo(f"{UNIT}: {'active' if is_active else 'not active'}{f'; {why}' if why else ''}")
        if look:
            problem = f"; {look.problem}" if look.problem else ""
            click.echo(f"tor {look.version}: {look.bootstrapped} % bootstrapped{problem}")
        for onion in look.onions if look else ():
            click.echo(f"onion: {onion}")
    if why:
        return EXIT_TEMPORARY
    return EXIT_FOUND if look and look.is_ready else _NOT_READY


def _change(wait: float) -> MachineChange:
    _check_root()
    check_programs()
    os.umask(0o022)  # the machine's users are others than root, and have to read its root
    return MachineChange(Roots(ROOTS), Service(), build_root, _say(), wait)


def _check_root() -> None:
    if os.geteuid() != 0:
        raise ConfigurationError("the machine belongs to root: run it as root")


def _say() -> Callable[[str], None]:
    """Progress is for people at a terminal; cron would send it by mail."""
    return partial(click.echo, err=True) if sys.stderr.isatty() else lambda _: None


def _what(changed: Changed) -> str:
    if not changed.changed:
        return f"up to date: tor {changed.tor}"
    what = ", ".join(f"{name} {old or 'none'} -> {new or 'none'}" for name, (old, new) in changed.packages.items())
    when = "" if changed.restarted else "; the machine was not running, and was not started"
    return f"{what or f'tor {changed.tor}, other files of it'}{when}"


def _tell(changed: Changed, what: str, *, as_json: bool) -> None:
    if as_json:
        write_json(asdict(changed))
    elif changed.changed or changed.recovered or sys.stdout.isatty():
        click.echo(what)
