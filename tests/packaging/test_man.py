"""Every command, option and key is in a man page, and groff has no objection."""

import re
from collections.abc import Iterator
from subprocess import run

import click
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from deploy.debian import roff
from deploy.debian.man import pages
from deploy.debian.reference import system_defaults
from onionmx.cli import command as program
from onionmx.config import Configuration
from onionmx.config.file import described_fields
from onionmx.route import HELP

PAGES = pages("2026-01-02", system_defaults())


def rendered(page: str) -> str:
    """The text of a page, as wide as it wants to be, in plain characters."""
    made = run(
        ["groff", "-ww", "-man", "-Tutf8", "-P-c", "-P-b", "-P-u", "-rLL=10000n", "-rHY=0"],
        input=page,
        capture_output=True,
        text=True,
        check=True,
    )
    assert not made.stderr
    return made.stdout


def commands(context: click.Context) -> Iterator[click.Context]:
    yield context
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            inner = context.command.get_command(context, name)
            assert inner is not None
            yield from commands(click.Context(inner, info_name=name, parent=context, **inner.context_settings))


TOP = click.Context(program, info_name="onionmx", **program.context_settings)
ALL_COMMANDS = {each.command_path: each for each in commands(TOP)}


@pytest.mark.parametrize("name", PAGES)
def test_groff_takes_the_page(name: str) -> None:
    text = rendered(PAGES[name])
    title = f"{name.rpartition('.')[0].upper()}({name[-1]})"
    assert text.split()[0] == title
    assert re.search(r"\n +\S+ [-−‐] \S", text), "NAME has no description"  # noqa: RUF001 -- as groff prints it


@pytest.mark.parametrize("path", ALL_COMMANDS)
def test_every_command_and_option_is_there(path: str) -> None:
    context = ALL_COMMANDS[path]
    page = PAGES["-".join(path.split()[:2]) + ".1"]
    text = rendered(page)
    assert path in text
    if path.count(" ") < 2 and "Exit codes:" in (context.command.help or ""):
        assert "\nEXIT STATUS\n" in text
        assert "Exit codes:" not in text.partition("\nCOMMANDS\n")[0]
    for parameter in context.command.get_params(context):
        for name in parameter.opts if isinstance(parameter, click.Option) else ():
            assert re.search(rf"^ +(-., )?.*{re.escape(name)}\b", text, re.MULTILINE), name
            assert (parameter.help or "").split(".")[0].replace("`", "") in text


def test_the_page_of_the_helper_says_what_its_help_says() -> None:
    text = rendered(PAGES["onionmx-route.1"])
    for word in HELP.removeprefix("usage:").split():
        assert word in text or word in {"Exit", "codes:"}


def test_every_key_has_its_description_and_default() -> None:
    text = rendered(PAGES["onionmx.toml.5"])
    defaults = system_defaults()
    for table in msgspec.structs.fields(Configuration):
        values = getattr(defaults, table.name)
        assert f"[{table.name}]" in text
        for key, description in described_fields(type(values)):
            assert f"{key} = {msgspec.json.encode(getattr(values, key)).decode()}" in text
            assert description.replace("`", "") in text


@given(st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1))
@example(".TH x")
@example("'\\\" comment")
@example("`code` \\fBx\\n(.x")
@example('-- ~ ^ ` "')
def test_text_comes_out_as_it_went_in(text: str) -> None:
    line = roff.paragraph(text)
    assert "\n" not in line
    assert not line.startswith((".", "'"))
    back = re.sub(r"\\f[BP]|\\&", "", line)
    for escaped, plain in [(r"\-", "-"), *((value, key) for key, value in roff.SPECIAL.items() if key not in "\\-")]:
        back = back.replace(escaped, plain)
    back = re.sub(r"\\\[u([0-9A-F]{4,6})\]", lambda match: chr(int(match[1], 16)), back).replace(r"\e", "\\")
    assert back.split() == text.split() or roff.CODE.search(text)
