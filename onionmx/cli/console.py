"""Where tables and findings are printed."""

from rich.console import Console

_WIDTH_OF_A_FILE = 160  # columns, where the output goes to no terminal


def make_console() -> Console:
    """Standard output, for text that may come from peers and is no markup."""
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = _WIDTH_OF_A_FILE
    return console
