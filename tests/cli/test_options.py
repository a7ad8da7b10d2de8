"""Options that several commands share."""

from collections.abc import Iterator

import click
import pytest

from onionmx.cli import command, main


def numbers(group: click.Group, path: str = "") -> Iterator[tuple[str, click.Parameter]]:
    """All options of all commands that take a number with a fraction."""
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        if isinstance(found, click.Group):
            yield from numbers(found, f"{path}{name} ")
        yield from (
            (f"{path}{name} {each.opts[0]}", each)
            for each in found.params
            if isinstance(each.type, click.types.FloatParamType)
        )


NUMBERS = dict(numbers(command))


def test_some_commands_take_seconds() -> None:
    assert {"selftest --timeout", "probe --timeout", "onion show --timeout", "setup --wait"} <= set(NUMBERS)


@pytest.mark.parametrize("option", NUMBERS)
def test_what_is_no_number_is_none(option: str) -> None:
    parameter = NUMBERS[option]
    for text in ("nan", "-nan", "NaN"):
        with pytest.raises(click.BadParameter):
            parameter.type.convert(text, parameter, None)
    assert parameter.type.convert("10", parameter, None) == 10


def test_a_test_without_an_end_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["selftest", "echo@receiver.example", "--timeout", "nan"]) == 64
    assert "'nan' is not a number of seconds" in capsys.readouterr().err
