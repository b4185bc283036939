"""What a server sends does nothing to a terminal; what moves on one is drawn; the shell completes ids."""

from __future__ import annotations

import io
import os
import re
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from dumont.cli.main import app
from dumont.cli.output import moment, seconds_until
from dumont.cli.waiting import Lines, Live
from hibernation.domain.states import EventType
from hibernation.models import Event
from hibernation.services.clock import db_now
from tests.dumont.cli.conftest import Terminal
from tests.factories import make_instance, make_operation

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m‮[red]gpj.exe[/red]\r\n:smile:"


@pytest.mark.django_db
def test_text_of_others_reaches_no_terminal_as_a_command(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = make_instance(name=EVIL, last_error=EVIL)
    make_operation(instance, waiting_for=EVIL, actor=EVIL)
    Event.objects.create(
        instance=instance, event_type=EventType.FAILED, timestamp=db_now(), reason=EVIL, actor=EVIL
    )
    commands = (("ls",), ("status", instance.pk), ("events", instance.pk), ("operations",))
    for command in commands:
        shown = terminal.run(*command).output
        assert not [c for c in shown if not c.isprintable() and c != "\n"]
        assert "\\x1b]0;owned\\x07" in shown
        assert "[red]gpj.exe[/red]" in shown
        assert ":smile:" in shown


@pytest.mark.django_db
def test_json_carries_it_as_escapes(terminal: Terminal) -> None:
    instance = make_instance(name=EVIL)
    shown = terminal.run("status", instance.pk, "--json").stdout
    assert shown.isascii()
    assert "\x1b" not in shown
    assert terminal.json("status", instance.pk)["name"] == EVIL


@pytest.mark.django_db
def test_an_error_that_holds_a_command_does_no_harm(terminal: Terminal) -> None:
    assert "\x1b" not in terminal.run("status", "vast_\x1b[2J", code=3).output


@pytest.mark.django_db
def test_the_shell_completes_ids_and_is_told_of_no_trouble(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [make_instance().pk for _ in range(2)]
    assert set(complete("dumont status vast_")) == set(names)
    terminal.wire.lost = 1
    assert complete("dumont status vast_") == []
    monkeypatch.delenv("DUMONT_TOKEN")
    assert complete("dumont status vast_") == []


def complete(typed: str) -> list[str]:
    words = {"_DUMONT_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": "2"}
    shown = CliRunner().invoke(app, [], env={**os.environ, **words}, prog_name="dumont").stdout
    return shown.split()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_script_that_asks_the_command_line(shell: str) -> None:
    asked = {"_DUMONT_COMPLETE": f"source_{shell}"}
    shown = CliRunner().invoke(app, [], env={**os.environ, **asked}, prog_name="dumont")
    assert (shown.exit_code, f"_DUMONT_COMPLETE=complete_{shell}" in shown.stdout) == (0, True)


def operation(**more: Any) -> dict[str, Any]:
    usual = {"id": 1, "kind": "wake", "state": "running", "step": "thaw", "steps": [], "progress": {}}
    return usual | {"waiting_for": "", "error": "", "cancel_reason": ""} | more


def step(name: str) -> dict[str, Any]:
    return {"step": name, "entered_at": name, "finished_at": "x", "seconds": 1.25}


BYTES = {"bytes_done": 5e6, "bytes_total": 2e7, "files_done": 1, "files_total": 3, "rate_bps": 1e6}


def test_on_a_terminal_steps_are_told_once_and_a_bar_moves() -> None:
    screen = io.StringIO()
    with Live(Console(file=screen, force_terminal=True, width=120)) as view:
        view.show(operation(steps=[step("choose")]))
        view.show(operation(steps=[step("choose"), step(EVIL[:3])], progress=BYTES | {"eta_seconds": 15}))
        view.show(operation(progress={"packs_done": 1, "packs_total": 2}))
    shown = screen.getvalue()
    assert shown.count("choose") == 1
    assert "1.25 s" in shown
    assert "1 of 2 packs read back" in shown
    assert "\x1b]0" not in shown


def test_on_a_pipe_a_line_tells_each_step_and_seldom_more(capsys: pytest.CaptureFixture[str]) -> None:
    view = Lines()
    view.show(operation(step="reach", waiting_for="the machine to answer"))
    view.show(operation(step="reach", waiting_for="still"))
    view.show(operation(steps=[step("reach")], progress=BYTES))
    view.show(operation(steps=[step("reach"), step("thaw")], state="succeeded"))
    assert capsys.readouterr().out.splitlines() == [
        "reach: the machine to answer",
        "reach        1.25 s",
        "thaw: 25 %, 5.0 MB of 20.0 MB, 1 of 3 files, 1.0 MB/s",
        "thaw         1.25 s",
    ]


@pytest.mark.django_db
def test_a_terminal_that_cannot_show_a_character_gets_its_escape(terminal: Terminal) -> None:
    make_instance(name="Übung")
    shown = CliRunner(charset="ascii").invoke(app, ["ls"])
    assert (shown.exit_code, "\\xdcbung" in shown.stdout) == (0, True)


def test_what_is_no_time_is_shown_as_it_is() -> None:
    assert (moment(None), moment("soon")) == ("", "soon")
    assert re.fullmatch(r"20(25|26)-..-.. ..:..:00", moment("2026-01-01T00:00:00Z"))
    assert seconds_until("soon") is None
    assert seconds_until("2026-01-01T00:00:00") is None
