"""docs/architecture.md, docs/rfcs.md and CONTRIBUTING.md lead to files that there are."""

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.source
PROJECT = Path(__file__).parent.parent
PATH = re.compile(r"`((?:[a-z_]+/)+(?:[a-z_]+\.py)?|[a-z_]+\.py)`")


def paths(document: str, heading: str = "") -> list[str]:
    text = (PROJECT / document).read_text()
    _, _, section = text.partition(f"\n{heading}\n") if heading else ("", "", text)
    return PATH.findall(re.split(r"^## ", section, maxsplit=1, flags=re.MULTILINE)[0] if heading else section)


@pytest.mark.parametrize("path", sorted({*paths("docs/architecture.md"), *paths("docs/rfcs.md")}))
def test_documents_name_what_is_there(path: str) -> None:
    assert (PROJECT / "onionmx" / path).exists() or (PROJECT / path).exists()


def test_every_room_is_in_the_layout() -> None:
    named = paths("CONTRIBUTING.md", "## Layout")
    there = {each.name + ("/" if each.is_dir() else "") for each in (PROJECT / "onionmx").iterdir()}
    rooms = {name for name in there if not name.startswith("__") and name != "py.typed"}
    assert rooms <= set(named)


def test_every_rfc_of_the_source_is_in_the_table() -> None:
    table = (PROJECT / "docs" / "rfcs.md").read_text()
    cited = {
        number for path in (PROJECT / "onionmx").rglob("*.py") for number in re.findall(r"RFC (\d+)", path.read_text())
    }
    assert cited <= set(re.findall(r"\b\d{4}\b", table))
