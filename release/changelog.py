"""CHANGELOG.md: the section "Unreleased" becomes that of a version."""

import re

_UNRELEASED = re.compile(r"^## Unreleased[ \t]*\n(?P<body>.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)


class ChangelogError(ValueError):
    """The changelog cannot be released as it is."""


def release(text: str, version: str, date: str) -> str:
    """Give the section "Unreleased" a version and a date, and leave an empty one above it.

    Args:
        text: the whole file.
        version: of the release.
        date: of the release, as 2026-01-02.

    Raises:
        ChangelogError: there is no such section, it holds nothing but headings, or the version has one already.
    """
    if re.search(rf"^## {re.escape(version)}\b", text, re.MULTILINE):
        raise ChangelogError(f"CHANGELOG.md: {version} has a section already")
    sections = list(_UNRELEASED.finditer(text))
    if len(sections) != 1:
        raise ChangelogError(f'CHANGELOG.md: {len(sections)} sections "## Unreleased", there must be one')
    [section] = sections
    if not any(line.strip() and not line.startswith("#") for line in section["body"].splitlines()):
        raise ChangelogError('CHANGELOG.md: nothing below "## Unreleased": say what changes for users')
    return f"{text[: section.start('body')]}\n## {version} - {date}\n{text[section.start('body') :]}"
