"""Links in the documents lead somewhere: to a file of this project, and to a heading in it; their lines are short."""

import re
import shutil
from collections import Counter
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

PROJECT = Path(__file__).parents[1]
FOLDERS = [
    path
    for path in PROJECT.iterdir()
    if path.is_dir() and path.name != "build" and (path.name[0] != "." or path.name == ".github")
]
DOCUMENTS = sorted([*PROJECT.glob("*.md"), *(path for folder in FOLDERS for path in folder.rglob("*.md"))])
_BLOCK = re.compile(r"^(`{3,}|~{3,}).*?^\1|^ {4}.*?$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(rf"{_BLOCK.pattern}|`[^`\n]*`", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?[^)]*\)|^\[[^\]]+\]:\s*(\S+)", re.MULTILINE)
_HEADING = re.compile(r"^#{1,6}[ \t]+(.+?)(?:[ \t]+#+)?[ \t]*$", re.MULTILINE)
_TABLE = re.compile(r"^[ \t]*\|.*$", re.MULTILINE)
_WHOLE = re.compile(r"[ \t]*(`[^`]+`|\S+)[.,:;]?")
"""A line that cannot be broken: one code span, one word."""
_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def links(text: str) -> list[str]:
    """What the links of a document lead to; code is no link."""
    return [first or second for first, second in _LINK.findall(_CODE.sub("``", text))]


def anchors(text: str) -> set[str]:
    """The anchors of the headings of a document, as GitHub makes them: a second of the same name gets -1."""
    found: Counter[str] = Counter()
    names = set()
    for heading in _HEADING.findall(re.sub(r"^(`{3,}|~{3,}).*?^\1", "", text, flags=re.MULTILINE | re.DOTALL)):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        names.add(f"{name}-{found[name]}" if found[name] else name)
        found[name] += 1
    return names


def broken(document: Path) -> list[str]:
    """The links of a document that lead nowhere in this project. Those to other hosts are not followed."""
    wrong = []
    for link in links(document.read_text()):
        if _ELSEWHERE.match(link):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = document.parent / path if path else document
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            wrong.append(link)
    return wrong


def too_long(text: str) -> list[str]:
    """The lines of prose with more than 100 characters, but for those that cannot be broken."""
    prose = _TABLE.sub("", _BLOCK.sub("", text))
    return [line for line in prose.splitlines() if len(line) > 100 and not _WHOLE.fullmatch(line)]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(PROJECT)))
def test_lines_of_prose_are_short(document: Path) -> None:
    assert not too_long(document.read_text())


def test_a_long_line_is_found() -> None:
    long = "word " * 20 + "end"
    kept = f"| {long} |\n\n    {long}\n\n```\n{long}\n```\n`{long}`\n{'x' * 101}\n"
    assert too_long(f"# Title\n{kept}- {long}\n") == [f"- {long}"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(PROJECT)))
def test_links_lead_somewhere(document: Path) -> None:
    assert not broken(document)


def test_a_wrong_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A `code` heading, twice\n# A `code` heading, twice\n"
        "[a](page.md#a-code-heading-twice-1) [b](#a-code-heading-twice) [c](https://example.org/x) `[d](code.md)`\n"
        "[e](no.md) [f](#a-code-heading) [g](page.md#nothing)\n"
        "\n    [h](block.md)\n\n```\n[i](fence.md)\n# no heading\n```\n"
    )
    assert broken(page) == ["no.md", "#a-code-heading", "page.md#nothing"]


def test_every_document_is_in_the_index(tmp_path: Path) -> None:
    index = PROJECT / "docs/README.md"
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in links(index.read_text())}
    assert {path.resolve() for path in (PROJECT / "docs").rglob("*.md")} - linked == {index.resolve()}
    elsewhere = shutil.copytree(PROJECT / "docs", tmp_path / "docs")
    assert "../exim/README.md" in broken(elsewhere / "README.md")


@given(st.text(st.sampled_from("[]()#` \n-aä:.~<>/"), max_size=60))
def test_any_text_can_be_read(text: str) -> None:
    assert all(link and not re.search(r"\s", link) for link in links(text))
    assert all(" " not in anchor for anchor in anchors(text))
