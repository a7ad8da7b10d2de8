"""The gates of `make coverage`."""

from collections import Counter

import pytest

from tests.coverage_by_room import judge


def test_a_room_and_all_have_gates(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Counter({"relay": 100, "tor": 1000})
    assert judge(lines.copy(), Counter({"relay": 90, "tor": 980})) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "all             1100 lines  97.3 %"
    assert judge(lines.copy(), Counter({"relay": 89, "tor": 1000})) == 1
    assert "relay            100 lines  89.0 %  below 90 %\n" in capsys.readouterr().out
    assert judge(lines.copy(), Counter({"relay": 91, "tor": 950})) == 1
    assert capsys.readouterr().out.endswith("  94.6 %  below 96 %\n")
