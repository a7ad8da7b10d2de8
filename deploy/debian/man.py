"""Man pages, made from click's commands, the helper's own help and the schema of the configuration."""

import re
from collections.abc import Iterator
from inspect import cleandoc

import click
import msgspec

from deploy.debian import roff
from deploy.debian.reference import ABOUT, default
from onionmx import __version__
from onionmx.cli import command as program
from onionmx.config import Configuration
from onionmx.config.file import DEFAULT_FILE, ENVIRONMENT_VARIABLE, described_fields
from onionmx.route import HELP

EXIT_CODES = "Exit codes:"
LONGEST_SUMMARY = 200  # characters; the first sentence of the help
PAGE_OF_THE_HELPER = "onionmx-route"


def pages(date: str, defaults: Configuration) -> dict[str, str]:
    """All man pages, by the names of their files.

    Args:
        date: for the foot of each page.
        defaults: the configuration whose values are called the defaults.
    """
    context = _context(program, "onionmx")
    commands = {name: _subcommand(context, name) for name in program.list_commands(context)}
    made = {f"onionmx-{name}.1": _command_page(name, found, date) for name, found in commands.items()}
    made["onionmx.1"] = _main_page(context, commands, date)
    made[f"{PAGE_OF_THE_HELPER}.1"] = _helper_page(date)
    made[f"{DEFAULT_FILE.name}.5"] = _configuration_page(date, defaults)
    return made


def _subcommand(parent: click.Context, name: str) -> click.Context:
    command = parent.command.get_command(parent, name) if isinstance(parent.command, click.Group) else None
    if command is None:
        raise click.UsageError(f"{parent.command_path} has no command {name}")
    return _context(command, name, parent)


def _context(command: click.Command, name: str, parent: click.Context | None = None) -> click.Context:
    # click remembers the options that these settings lead to, --help among them.
    return click.Context(command, parent=parent, info_name=name, **command.context_settings)


def _main_page(context: click.Context, commands: dict[str, click.Context], date: str) -> str:
    text, exit_codes = _described(context.command)
    return "".join(
        (
            roff.heading("onionmx", 1, date, __version__),
            roff.section("NAME", r"onionmx \- mail between servers over Tor onion services" + "\n"),
            roff.section("SYNOPSIS", f"{_usage(context)}\n"),
            roff.section("DESCRIPTION", roff.prose(text)),
            roff.section("COMMANDS", *(roff.item(name, _short(found)) for name, found in commands.items())),
            roff.section("OPTIONS", _options(context)),
            roff.section("EXIT STATUS", roff.prose(exit_codes)),
            roff.section(
                "ENVIRONMENT", roff.item(ENVIRONMENT_VARIABLE, "The configuration file, if it is another one.")
            ),
            roff.section("FILES", roff.item(str(DEFAULT_FILE), "The configuration; everything has a default.")),
            _see_also(*(f"onionmx-{name}" for name in commands), PAGE_OF_THE_HELPER),
        )
    )


def _command_page(name: str, context: click.Context, date: str) -> str:
    text, exit_codes = _described(context.command)
    return "".join(
        (
            roff.heading(f"onionmx-{name}", 1, date, __version__),
            roff.section("NAME", rf"onionmx\-{name} \- {roff.escape(_short(context))}" + "\n"),
            roff.section("SYNOPSIS", f"{_usage(context)}\n"),
            roff.section("DESCRIPTION", roff.prose(text)),
            roff.section("COMMANDS", *_nested(context)),
            roff.section("OPTIONS", _options(context)),
            roff.section("EXIT STATUS", roff.prose(exit_codes)),
            _see_also("onionmx"),
        )
    )


def _nested(context: click.Context) -> Iterator[str]:
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            inner = _subcommand(context, name)
            body = roff.prose(inner.command.help or "") + _options(inner)
            yield roff.subsection(" ".join((inner.command_path, *inner.command.collect_usage_pieces(inner))), body)
            yield from _nested(inner)


def _helper_page(date: str) -> str:
    usage, *blocks = HELP.split("\n\n")
    name, _, synopsis = usage.removeprefix("usage: ").partition(" ")
    options = "".join(
        roff.item(*re.split(r"\s{2,}", line.strip(), maxsplit=1))
        for block in blocks
        for line in block.splitlines()
        if line.startswith("  -")
    )
    text = [block for block in blocks if not block.startswith(("  -", EXIT_CODES))]
    exit_codes = [block.removeprefix(EXIT_CODES) for block in blocks if block.startswith(EXIT_CODES)]
    return "".join(
        (
            roff.heading(name, 1, date, __version__),
            roff.section("NAME", rf"{roff.escape(name)} \- the route of a domain, for Exim" + "\n"),
            roff.section("SYNOPSIS", rf"\fB{roff.escape(name)}\fP {roff.escape(synopsis)}" + "\n"),
            roff.section("DESCRIPTION", roff.prose("\n\n".join(text))),
            roff.section("OPTIONS", options),
            roff.section("EXIT STATUS", roff.prose("\n\n".join(exit_codes))),
            _see_also("onionmx", "onionmx-lookup"),
        )
    )


def _configuration_page(date: str, defaults: Configuration) -> str:
    tables = []
    for table in msgspec.structs.fields(Configuration):
        values = getattr(defaults, table.name)
        keys = "".join(
            roff.item(f"{name} = {default(values, name)}", description)
            for name, description in described_fields(type(values))
        )
        tables.append(roff.subsection(f"[{table.name}]", roff.prose(values.__doc__) + keys))
    return "".join(
        (
            roff.heading(DEFAULT_FILE.name, 5, date, __version__),
            roff.section("NAME", rf"{DEFAULT_FILE.name} \- configuration of onionmx" + "\n"),
            roff.section("DESCRIPTION", roff.prose(ABOUT)),
            roff.section("TABLES", *tables),
            _see_also("onionmx", "onionmx-config"),
        )
    )


def _described(command: click.Command) -> tuple[str, str]:
    """What a command does, and its exit codes, which have a paragraph of their own."""
    blocks = re.split(r"\n\s*\n", cleandoc(command.help or ""))
    exit_codes = [block.removeprefix(EXIT_CODES) for block in blocks if block.startswith(EXIT_CODES)]
    return "\n\n".join(block for block in blocks if not block.startswith(EXIT_CODES)), "\n\n".join(exit_codes)


def _short(context: click.Context) -> str:
    return context.command.get_short_help_str(LONGEST_SUMMARY).removesuffix(".").replace("`", "")


def _usage(context: click.Context) -> str:
    pieces = " ".join(context.command.collect_usage_pieces(context))
    return rf"\fB{roff.escape(context.command_path)}\fP {roff.escape(pieces)}"


def _options(context: click.Context) -> str:
    records = (parameter.get_help_record(context) for parameter in context.command.get_params(context))
    return "".join(roff.item(*record) for record in records if record and record[1])


def _see_also(*names: str) -> str:
    links = [f".BR {roff.escape(name)} (1)" for name in names]
    links.append(f".BR {roff.escape(DEFAULT_FILE.name)} (5)")
    return roff.section("SEE ALSO", ",\n".join(links) + "\n")
