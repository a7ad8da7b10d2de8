"""Which domains are released, as status tells it."""

import errno
import os
import time
from pathlib import Path
from typing import Any

import pytest

from onionmx.config import FallbackSection
from onionmx.fallback.writing import write_released
from onionmx.status.released import NO_RULES, NONE, look_at_released


@pytest.fixture
def settings(tmp_path: Path) -> FallbackSection:
    return FallbackSection(rules=str(tmp_path / "fallback"), released=str(tmp_path / "released.cdb"))


def test_without_rules(settings: FallbackSection) -> None:
    told = look_at_released(settings)
    assert (told.released, told.why) == ((), NO_RULES)


def test_rules_and_nothing_released(settings: FallbackSection) -> None:
    Path(settings.rules).write_text("* after 2d\n")
    assert look_at_released(settings).why == NONE
    write_released(Path(settings.released), ())
    assert look_at_released(settings).why == NONE
    os.utime(settings.released, (0, 0))  # nobody confirms that nothing is released
    assert look_at_released(settings).why == NONE


def test_released(settings: FallbackSection) -> None:
    write_released(Path(settings.released), ["xn--mller-kva.example", "example.org"])
    told = look_at_released(settings)
    assert (told.released, told.why) == (("example.org", "xn--mller-kva.example"), "")
    assert told.confirmed == pytest.approx(time.time(), abs=600)


def test_what_is_not_believed_releases_nothing(settings: FallbackSection) -> None:
    write_released(Path(settings.released), ["example.org"], age=7200.0)
    told = look_at_released(settings)
    assert told.released == ()
    assert "was not confirmed by the relay" in told.why


@pytest.mark.parametrize("name", ["released", "rules"])
def test_what_may_not_be_looked_at_is_not_known(
    settings: FallbackSection, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.lstat

    def refused(path: str, *arguments: Any, **keywords: Any) -> os.stat_result:  # noqa: ANN401 -- as os.lstat
        if path == getattr(settings, name):
            raise PermissionError(errno.EACCES, "Permission denied")  # root would be let in
        return real(path, *arguments, **keywords)

    monkeypatch.setattr(os, "lstat", refused)
    told = look_at_released(settings)
    assert told.released is None
    assert "Permission denied" in told.why
