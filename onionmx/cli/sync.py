"""`onionmx sync`."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import click
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from onionmx.answer import Answer
from onionmx.cli.live import opened_memories
from onionmx.cli.log import is_run_by_systemd, log_to_stderr
from onionmx.cli.options import configuration_option, json_option, map_option, read_input, warn, with_map, write_json
from onionmx.cli.state_user import become_owner
from onionmx.cli.sync_log import log_summary
from onionmx.cli.sync_report import print_pending, print_status, print_summary, summary_as_json
from onionmx.config import Configuration, SyncSection
from onionmx.errors import ConfigurationError, UsageError
from onionmx.log.handlers import use_log
from onionmx.mapfile.entries import Entries
from onionmx.parts import Parts
from onionmx.sync.after import run_after
from onionmx.sync.lists.files import Lists
from onionmx.sync.lists.logs import as_list, lists_of_hosts, read_logs
from onionmx.sync.lists.recipients import Recipients
from onionmx.sync.lists.signature import check_signature
from onionmx.sync.metrics_file import measured
from onionmx.sync.pending import Words, settle_everywhere, waiting
from onionmx.sync.report import Summary
from onionmx.sync.run import Inputs, RunOptions, SyncRun
from onionmx.sync.setup import is_shared, opened_store, own_pins, read_base
from onionmx.sync.state.notes import MapStamp
from onionmx.sync.state.store import Store
from onionmx.sync.stores import seal_shared_store


@click.command()
@click.argument("lists", metavar="[LIST]...", nargs=-1)
@configuration_option
@map_option
@click.option("--pins", metavar="FILE", help="Pins (default: sync.pins of the configuration).")
@click.option("--all", "ask_all", is_flag=True, help="Ask for every listed domain, not only for those that are due.")
@click.option("--accept", is_flag=True, help="Remove entries although they are many (sync.max_removal).")
@click.option("-n", "--dry-run", is_flag=True, help="Ask and report, but write nothing.")
@click.option("--pending", is_flag=True, help="List the changes that wait, and ask nothing.")
@click.option(
    "--accept-change", "accepted", metavar="DOMAIN[=ONION,...]", multiple=True, help="Make the change that waits."
)
@click.option("--refuse-change", "refused", metavar="DOMAIN", multiple=True, help="Keep what is there instead.")
@click.option("--allow-change", "allowed", metavar="DOMAIN", multiple=True, help="Take --refuse-change back.")
@click.option("--status", is_flag=True, help="Tell of the last run and of what is known, and ask nothing.")
@click.option("--seal-store", "seal", is_flag=True, help="Give a shared store in use its key (sync.store_key_file).")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing when nothing changed and all was decided.")
@json_option
def command(  # noqa: PLR0917 -- click gives them by name
    lists: tuple[str, ...],
    configuration: Configuration,
    map_path: str | None,
    pins: str | None,
    accepted: tuple[str, ...],
    refused: tuple[str, ...],
    allowed: tuple[str, ...],
    *,
    ask_all: bool,
    accept: bool,
    dry_run: bool,
    pending: bool,
    status: bool,
    seal: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Find out which domains have an onion MX, and write the map.

    LIST is a file with one domain a line, or - for standard input; by default the files in sync.domains and the domains
    in the mail logs of sync.logs. Only those that are new or due are asked. Pins override DNS. A domain whose lookup
    failed keeps its entry; one that is neither listed nor pinned any more loses it. Local domains get none.

    If root runs it, it becomes the user who owns the folder of the map; that user must be able to read lists, pins and
    logs (those of Debian by the group adm).

    An unsigned change of onions waits until it has been seen for some days (sync.hold), or is accepted by name. One
    that was refused is made only with a signature, until --allow-change. Too many removals at once (sync.max_removal)
    wait for --accept.

    Exit codes: 0 the map is up to date; 64 no change waits for a DOMAIN; 75 every lookup failed, map or state cannot be
    read or written, or another sync is running; 78 configuration, pins or a list are wrong, or a list that must be
    signed is not. At 75 and 78 the map was not changed.

    It writes map.exports and map.transport_path too. Where map or exports have changed, it runs sync.after, and says on
    standard error if that fails. None of this is done for another --map.

    Where systemd runs it and log.format is json or journald, it logs what it would print.
    """
    configuration = with_map(configuration, map_path)
    words = Words(accepted, refused, allowed).normalized()
    memories: dict[str, Store] = {}
    if pending or words:
        memories = click.get_current_context().with_resource(opened_memories(configuration))
    become_owner(Path(configuration.map.path).parent, configuration.sync.secrets().values())
    is_logged = not as_json and configuration.log.format != "text" and is_run_by_systemd()
    if is_logged:
        log_to_stderr(verbose=False)
        use_log(configuration)
    _check_modes(lists, [pending, status, seal, bool(words), ask_all or dry_run])
    if seal:
        _seal_store(configuration.sync, as_json=as_json)
        return
    wishes = RunOptions(ask_all=ask_all, accept_removal=accept, dry_run=dry_run, ask_none=bool(words))
    if pending or status:
        with opened_store(configuration, to_write=False) as store:
            _tell(store, memories, configuration, pending=pending, as_json=as_json)
        return
    with measured("" if dry_run else configuration.sync.metrics_file) as measure:
        pinned = own_pins(configuration, pins)
        with _logs(configuration, is_wanted=not (lists or wishes.ask_none), to_write=not dry_run) as recipients:
            files = None if wishes.ask_none else _read_lists(lists, configuration, pinned, recipients)
            signed = [
                each for each in (check_signature(configuration.sync.signers, *file) for file in files or ()) if each
            ]
            with opened_store(configuration, to_write=not dry_run) as store:
                if files is not None and is_shared(configuration.sync) and not lists:
                    files = [*files, *lists_of_hosts(configuration, recipients, time.time(), to_write=not dry_run)]
                base = read_base(configuration, store.pins() if pinned is None else pinned)
                if wishes.ask_none:
                    wishes = replace(wishes, accepted=words.accepted_domains)
                    held = MapStamp(store, [Path(configuration.map.path)], ()).held()
                    with store.run_lock():
                        settle_everywhere([store, *memories.values()], words, time.time(), held)
                shared = pinned if is_shared(configuration.sync) else None
                summary = _run(configuration, store, Inputs(base, files, signed, shared), wishes)
            if recipients:
                summary = replace(summary, outgoing=recipients.outgoing(Path(configuration.map.path)))
        measure(summary)
    if is_logged:
        log_summary(summary)
    else:
        _print(summary, quiet=quiet, as_json=as_json)
    if not dry_run:
        _run_after(configuration)


def _print(summary: Summary, *, quiet: bool, as_json: bool) -> None:
    if as_json:
        write_json(summary_as_json(summary))
    else:
        print_summary(summary, quiet=quiet)


def _run_after(configuration: Configuration) -> None:
    if failure := run_after(Path(configuration.map.path), configuration.sync.after):
        warn(failure)


def _tell(
    store: Store, memories: dict[str, Store], configuration: Configuration, *, pending: bool, as_json: bool
) -> None:
    if pending:
        records = [(record, "") for record in waiting(store)]
        for place, memory in memories.items():
            records += [(record, place) for record in waiting(memory)]
        held = MapStamp(store, [Path(configuration.map.path)], ()).held()
        print_pending(records, sorted(held), as_json=as_json)
    else:
        print_status(store, configuration.map.path, as_json=as_json)


def _seal_store(settings: SyncSection, *, as_json: bool) -> None:
    count = seal_shared_store(settings)
    if as_json:
        write_json({"sealed": count})
    else:
        click.echo(f"{count} entries of {settings.store} got a MAC")


def _run(configuration: Configuration, store: Store, inputs: Inputs, wishes: RunOptions) -> Summary:
    async def run(on_answer: Callable[[Answer], None]) -> Summary:
        async with Parts(configuration) as parts:
            run = SyncRun(configuration, store, parts.ask_many, parts.prover, time.time)
            return await run.synchronize(inputs, wishes, on_answer)

    with _progress() as on_answer:
        return asyncio.run(run(on_answer))


def _check_modes(lists: tuple[str, ...], modes: list[bool]) -> None:
    is_asking = modes[-1]
    if sum(modes) > 1 or (lists and any(modes) and not is_asking):
        raise UsageError(
            "expected one of: lists to ask for, --pending, --status, --seal-store, or --accept-change, "
            "--refuse-change or --allow-change with a domain"
        )


def _logs(
    configuration: Configuration, *, is_wanted: bool, to_write: bool
) -> AbstractContextManager[Recipients | None]:
    if not (is_wanted and configuration.sync.logs):
        return nullcontext()
    return read_logs(configuration, time.time(), warn, to_write=to_write)


def _read_lists(
    lists: tuple[str, ...], configuration: Configuration, pins: Entries | None, recipients: Recipients | None
) -> Lists:
    names = lists or tuple(configuration.sync.domains)
    if not names and pins == {} and recipients is None:
        raise ConfigurationError(
            "nothing to do: name a list of domains, set sync.domains or sync.logs, or write pins to "
            f"{configuration.sync.pins}"
        )
    # Hosts that share a store give theirs there, and take those of all from there.
    is_alone = not is_shared(configuration.sync)
    from_logs = [as_list(recipients, configuration.sync.top)] if recipients and is_alone else []
    try:
        return [*(read_input(name, is_configured=not lists) for name in names), *from_logs]
    except UsageError as error:
        if lists:
            raise
        raise ConfigurationError(f"sync.domains: {error}") from error


@contextmanager
def _progress() -> Iterator[Callable[[Answer], None]]:
    """A count on standard error while it is a terminal; nothing in cron."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _answer: None
        return
    columns = (SpinnerColumn(), TextColumn("asking DNS"), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda _answer: progress.advance(task)
