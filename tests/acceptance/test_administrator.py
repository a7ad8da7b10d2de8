"""What an administrator makes of a block for a file."""

from tests.acceptance.administrator import add_lines


def test_lines_go_to_the_end_or_into_the_tables_that_are_there() -> None:
    assert add_lines("a\n", "b\nc\n") == "a\nb\nc\n"
    assert add_lines("[tor]\nx = 1\n", "[own]\ny = 2\n") == "[tor]\nx = 1\n[own]\ny = 2\n"
    both = add_lines("[tor]\n# x = 1\n[onion]\n# y = 1\n", "[tor]\nx = 2\n\n[onion]\ny = 2\n")
    assert both == "[tor]\nx = 2\n\n# x = 1\n[onion]\ny = 2\n# y = 1\n"
