"""What every command has in common."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dumont.cli.exits import MEANING, Code
from dumont.cli.main import app

DOCS = Path(__file__).parents[3] / "docs" / "cli.md"
COMMANDS = [command.callback for command in app.registered_commands if command.callback]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
def test_every_command_speaks_json_and_is_documented(command: object) -> None:
    assert callable(command)
    assert "as_json" in inspect.signature(command).parameters
    assert f"`{command.__name__}" in DOCS.read_text() or f"dumont {command.__name__}" in DOCS.read_text()


def test_the_exit_codes_are_in_the_help_and_in_the_docs() -> None:
    shown, written = CliRunner().invoke(app, ["--help"]).stdout, DOCS.read_text()
    assert set(MEANING) == set(Code)
    for code, meaning in MEANING.items():
        assert f"{code:>3}  {meaning}" in shown
        assert f"| {int(code)} |" in written
