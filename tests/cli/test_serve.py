from pathlib import Path

import pytest

from onionmx.cli import main


def test_a_wrong_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "onionmx.toml").write_text('[serve]\nresult = "{nothing}"\n')
    assert main(["serve", "--config", str(tmp_path / "onionmx.toml")]) == 78
    error = capsys.readouterr().err
    assert error.startswith(f"onionmx: configuration {tmp_path}/onionmx.toml: ")
    assert "serve.result: '{nothing}' has an unknown placeholder: {domain}, {onion}, {port} exist" in error


def test_help_says_what_it_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--help"]) == 0
    assert "Tell MTAs where the mail of a domain goes." in capsys.readouterr().out
