"""docs/configuration.md is what the schema says."""

from pathlib import Path

from deploy.debian.reference import reference, system_defaults

PAGE = Path(__file__).parent.parent.parent / "docs" / "configuration.md"


def test_page_is_made_from_the_schema() -> None:
    assert PAGE.read_text() == reference(system_defaults()), "make it: python3 -m deploy.debian.reference"
