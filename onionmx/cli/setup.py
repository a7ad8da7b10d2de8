"""`onionmx setup`."""

import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import click
import msgspec

from onionmx.cli.options import Seconds, json_option, write_json
from onionmx.cli.setup_report import exit_code, print_plan, print_proof, print_undone, report, report_undone, undo_plan
from onionmx.errors import EXIT_FOUND, ConfigurationError, TemporaryError, UsageError
from onionmx.setup.engine import Say, SetupRun, prepare, work_of
from onionmx.setup.manifest import FILE, FOLDER, Manifest, load
from onionmx.setup.observe import installed_mtas, mtas_handling_mail, observe, read_configuration
from onionmx.setup.old_routers import leaks
from onionmx.setup.plan import make_plan
from onionmx.setup.programs.mtas import PAGE, names, reading, where_to_read
from onionmx.setup.programs.wishes import Mta, SetupOptions, checked, missing
from onionmx.setup.prove import SetupProof, SetupProver
from onionmx.setup.system import System
from onionmx.setup.undo import undo

_PATIENCE = 300.0  # seconds; a new onion service is found after one to three minutes
_SYSTEMD = "/run/systemd/system"


@click.command()
@click.option("--domain", "domains", metavar="DOMAIN", multiple=True, help="A mail domain of this host; once for each.")
@click.option("--send/--no-send", default=None, help="Send mail over Tor.")
@click.option("--receive/--no-receive", default=None, help="Receive mail over Tor.")
@click.option("--mta", type=click.Choice(get_args(Mta)), help="Which MTA, where several are here.")
@click.option(
    "--exim",
    "exim_way",
    type=click.Choice(["relay", "helper", "readsocket"]),
    help="How Exim sends: through the relay, in one round trip (default); by itself with the helper, or with the "
    "lookup daemon, through tor's SOCKS port.",
)
@click.option(
    "--postfix",
    "postfix_way",
    type=click.Choice(["table", "socketmap"]),
    help="How Postfix finds out what goes to the relay: from a table, which no daemon that is down can take away "
    "(default), or from the lookup daemon, which also finds domains that are not in the map.",
)
@click.option(
    "--lists",
    metavar="FILE",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, resolve_path=True),
    help="List of domains that may have an onion MX, one a line; may be given several times.",
)
@click.option(
    "--logs/--no-logs", default=None, help="Take domains from the MTA's logs (default: where there are no lists)."
)
@click.option("--publish-to", metavar="SERVER", help="Name server that takes the record (RFC 2136), as IP or IP:PORT.")
@click.option(
    "--tsig-file",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, resolve_path=True),
    help="Key for it, readable by its owner alone, such as /etc/credstore/onionmx.tsig (docs/credentials.md).",
)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--dry-run", "-n", is_flag=True, help="Show the plan, change nothing.")
@click.option("--undo", "undoing", is_flag=True, help="Take back all that setup has done.")
@click.option("--delete-keys", is_flag=True, help="With --undo: delete the onion service's key too.")
@click.option(
    "--wait",
    metavar="SECONDS",
    type=Seconds(0, 3600),
    default=_PATIENCE,
    show_default=True,
    help="Patience until this host's onion can be reached over Tor.",
)
@click.option("--no-wait", is_flag=True, help="Do not try to reach this host's onion; the same as --wait 0.")
@json_option
def command(
    domains: tuple[str, ...],
    *,
    send: bool | None,
    receive: bool | None,
    mta: Mta | None,
    exim_way: str | None,
    postfix_way: str | None,
    lists: tuple[str, ...],
    logs: bool | None,
    publish_to: str | None,
    tsig_file: str | None,
    yes: bool,
    dry_run: bool,
    undoing: bool,
    delete_keys: bool,
    wait: float,
    no_wait: bool,
    as_json: bool,
) -> int:
    """From installed to working: set up tor, an MTA and onionmx, and prove that it works.

    It looks at what is here, asks what it cannot know, shows a plan (a diff of each file, each command), and carries
    it out on yes. Files are changed in marked blocks, or are files of its own; before a program is reloaded its own
    checker has to accept them, else all is put back. Interrupted at any point, the next run goes on. Run again with
    the same wishes it changes nothing; wishes are remembered, and an option changes one.

    --undo leaves /etc as it was, byte for byte, except what others have changed since. The onion service's key stays,
    unless --delete-keys is given: anyone who has it has this host's onion.

    For programs: --yes with --json, where "changed" tells whether anything was changed.

    Exit codes: 0 done, or nothing to do; 1 done, and a problem was found at the end; 64 usage, or --yes and something
    is missing that setup cannot know; 75 something did not come up in time, could not be told, or is left to you for
    want of systemd; 78 configuration: something is in the way, or a checker refused and all was put back.
    """
    system = System()
    if os.geteuid() != 0:
        raise ConfigurationError("setup changes files in /etc: run it as root")
    if not sys.stdin.isatty() and not (yes or dry_run):
        raise UsageError("there is no terminal to ask on: say --yes, or --dry-run to see the plan")

    def say(words: str) -> None:
        if not as_json:
            click.echo(words)

    with _locked(system, dry_run=dry_run), _told():
        manifest = load(system)
        if undoing:
            return _undo(system, manifest, say, yes=yes, dry_run=dry_run, delete_keys=delete_keys, as_json=as_json)
        if manifest is not None and manifest.undoing and not dry_run:
            _finish_undo(system, manifest, say)
            manifest = None
        given = {
            "domains": domains or None,
            "send": send,
            "receive": receive,
            "mta": mta,
            "exim": exim_way,
            "postfix": postfix_way,
            "lists": lists or None,
            "logs": logs,
            "publish_to": publish_to,
            "tsig_file": tsig_file,
        }
        wishes = _wishes(
            system, manifest, {key: value for key, value in given.items() if value is not None}, yes=yes or dry_run
        )
        return _set_up(system, manifest, wishes, say, 0 if no_wait else wait, yes=yes, dry_run=dry_run, as_json=as_json)


@contextmanager
def _locked(system: System, *, dry_run: bool) -> Iterator[None]:
    if dry_run:
        yield
        return
    prepare(system)
    with system.locked(f"{FOLDER}/lock"):
        try:
            yield
        finally:
            if not system.exists(FILE):
                system.remove_tree(FOLDER)


@contextmanager
def _told() -> Iterator[None]:
    """A file that cannot be read or written is a matter for the operator, not for a traceback."""
    try:
        yield
    except OSError as error:
        raise ConfigurationError(
            f"{error.filename}: {error.strerror}; onionmx setup goes on from here, --undo takes back"
        ) from error


def _wishes(system: System, manifest: Manifest | None, given: dict[str, object], *, yes: bool) -> SetupOptions:
    """What is wanted: said now, or remembered, or asked."""
    remembered = manifest.wishes if manifest else SetupOptions()
    if manifest and "mta" in given and remembered.mta and given["mta"] != remembered.mta:
        raise UsageError(f"this host was set up for {remembered.mta}: onionmx setup --undo first")
    wishes = msgspec.structs.replace(remembered, **given)
    found = _found(system, wishes.mta)
    if not wishes.domains:
        wishes = msgspec.structs.replace(wishes, domains=read_configuration(system).local.domains)
    while (option := missing(wishes, found)) is not None:
        if yes:
            raise UsageError(f"setup cannot know: {option}")
        wishes = _asked(wishes, found)
    if wishes.mta is None:
        wishes = msgspec.structs.replace(wishes, mta=found[0])
    return checked(msgspec.structs.replace(wishes, send=bool(wishes.send), receive=bool(wishes.receive)))


def _found(system: System, wished: Mta | None) -> tuple[Mta, ...]:
    """The MTAs that may be meant.

    Raises:
        ConfigurationError: there is none, or one handles the mail of this host that setup does not know.
        UsageError: it cannot be told whether such a one does.
    """
    if wished and any(signs.mta == wished for signs in installed_mtas(system)):
        return (wished,)
    found = mtas_handling_mail(system)
    mtas = tuple(signs.mta for signs in found if signs.mta)
    others = [signs for signs in found if not signs.mta]
    if others and not mtas:
        raise ConfigurationError(where_to_read(others))
    if wished is None and not found:
        raise ConfigurationError(
            "neither Exim with Debian's configuration nor Postfix or OpenSMTPD is here: install one; another MTA hands "
            f"mail to onionmx relay by SMTP, 127.0.0.1:10025 (onionmx files {PAGE})"
        )
    if wished is None and others:
        choice = " or ".join(f"--mta {mta}" for mta in mtas)
        raise UsageError(
            f"{names(found)} are here, and which of them handles the mail is not clear: {choice}, or {reading(others)}"
        )
    return mtas


def _asked(wishes: SetupOptions, found: tuple[Mta, ...]) -> SetupOptions:
    """Ask for the first thing that is missing."""
    if not wishes.domains:
        words = click.prompt("Mail domains of this host, with blanks between them")
        return msgspec.structs.replace(wishes, domains=tuple(words.replace(",", " ").split()))
    if wishes.send is None and wishes.receive is None:
        way = click.prompt(
            "Send over Tor, receive, or both", type=click.Choice(["send", "receive", "both"]), default="both"
        )
        return msgspec.structs.replace(wishes, send=way != "receive", receive=way != "send")
    return msgspec.structs.replace(
        wishes, mta=click.prompt("Several MTAs are here; for which one", type=click.Choice(found))
    )


def _set_up(
    system: System,
    manifest: Manifest | None,
    wishes: SetupOptions,
    say: Say,
    patience: float,
    *,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    observed = observe(system, wishes, _program("onionmx"), _program("onionmx-route"))
    plan = make_plan(observed, wishes)
    works = work_of(system, plan, manifest, observed.enabled)
    has_work = any(works)
    if not as_json:
        print_plan(system, plan, works)
    planned = report(system, plan, works, dry_run=dry_run)
    if has_work and not (yes or dry_run):
        click.confirm("Apply this plan?", abort=True)
    if dry_run:
        if as_json:
            write_json(planned | {"changed": has_work, "exit_code": EXIT_FOUND})
        return EXIT_FOUND
    applied = SetupRun(system, plan, say, systemd=observed.systemd).apply(works)
    prover = SetupProver(system, tuple(shlex.split(observed.program)), plan, say)
    # Without systemd nothing runs that the doctor could look at, but for what Exim would read.
    proof = prover.prove(patience) if observed.systemd else SetupProof(problems=leaks(system))
    code = exit_code(applied, proof)
    if as_json:
        write_json(planned | msgspec.to_builtins(applied) | {"result": proof, "exit_code": code})
    else:
        print_proof(plan, applied, proof)
    return code


def _undo(
    system: System, manifest: Manifest | None, say: Say, *, yes: bool, dry_run: bool, delete_keys: bool, as_json: bool
) -> int:
    if manifest is None:
        say("setup has done nothing here that could be taken back")
        if as_json:
            write_json({"changed": False, "exit_code": EXIT_FOUND})
        return EXIT_FOUND
    if not as_json:
        undo_plan(system, manifest)
    if dry_run:
        if as_json:
            write_json({"dry_run": True, "changed": True, "exit_code": EXIT_FOUND})
        return EXIT_FOUND
    if not yes and not manifest.undoing:
        click.confirm("Take this back?", abort=True)
    undone = undo(system, manifest, say, systemd=system.exists(_SYSTEMD), delete_keys=delete_keys)
    undone.problems += leaks(system)  # as it was before, a copy of an old router included
    return report_undone(undone) if as_json else print_undone(undone)


def _finish_undo(system: System, manifest: Manifest, say: Say) -> None:
    """Finish what an interrupted --undo has begun; the machine is then as if there had been no setup."""
    say("an interrupted --undo is finished first")
    undone = undo(system, manifest, say, systemd=system.exists(_SYSTEMD), delete_keys=False)
    if undone.problems:
        raise TemporaryError("; ".join(undone.problems))


def _program(name: str) -> str:
    """The command that runs a program of this very installation."""
    beside = Path(sys.executable).with_name(name)
    usual = Path("/usr/bin", name)
    if usual.exists() and (not beside.exists() or usual.resolve() == beside.resolve()):
        return str(usual)
    if beside.exists():
        return str(beside)
    return shutil.which(name) or f"{sys.executable} -m onionmx"
