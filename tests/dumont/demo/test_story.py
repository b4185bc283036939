"""Told once per line in a file, in place on a terminal, and kept for the report."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime

import pytest

from dumont.client import units
from dumont.demo.compare import Difference
from dumont.demo.inventory import Entry, Inventory
from dumont.demo.report import Report
from dumont.demo.story import Story


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Terminal()


def test_a_terminals_live_line_is_replaced_by_what_follows(terminal: Terminal) -> None:
    story = Story(terminal)
    story.live("10 %")
    story.live("20 %")
    story.good("done")
    shown = terminal.getvalue()
    assert shown.count("\n") == 1
    assert shown.count("\r\x1b[2K") == 3
    assert "\x1b[32mdone" in shown


def test_without_colour_every_line_stays(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    story = Story(terminal)
    story.good("done")
    assert re.fullmatch(r" +0\.\d s  done\n", terminal.getvalue())


def test_in_a_file_live_lines_come_at_most_once_a_second() -> None:
    out = io.StringIO()
    story = Story(out)
    for number in range(50):
        story.live(f"{number} %")
    assert len(out.getvalue().splitlines()) == 1


def test_what_happened_earlier_keeps_its_own_time() -> None:
    story = Story(io.StringIO())
    story.say("later", datetime.fromtimestamp(story.started + 2.5, UTC).isoformat())
    assert story.timeline == [{"at": 2.5, "kind": "note", "text": "later"}]


def test_progress_is_told_with_units() -> None:
    facts = {"bytes_done": 5e6, "bytes_total": 2e7, "files_done": 3, "files_total": 1200}
    assert units.progress(facts) == "25 %, 5.0 MB of 20.0 MB, 3 of 1,200 files"
    told = units.progress(facts | {"rate_bps": 1_500_000, "eta_seconds": 10.2})
    assert told.endswith(", 1.5 MB/s, 10 s left")
    assert units.progress({"packs_done": 1, "packs_total": 2}) == "1 of 2 packs read back"
    assert units.progress({}) == ""


def operation() -> dict[str, object]:
    times = {"started_at": "2026-01-01T00:00:00Z", "finished_at": "2026-01-01T00:00:02.500Z"}
    step = {"step": "freeze", "seconds": 1.5, "waits": 2, "entered_at": "x"}
    return {
        "id": 7,
        "kind": "hibernate",
        "reason": "",
        "result": {},
        "progress": {},
        "steps": [step],
        **times,
    }


def test_a_report_says_how_it_ended_and_how_long_each_step_took() -> None:
    entry = Entry("file", 0o644, 1, 0, 0, size=3)
    report = Report(result="different", before=Inventory({"a": entry}, {"pipe": "FIFO"}))
    report.operations.append(operation())
    report.differences.append(Difference("a", "missing"))
    told = report.to_json(Story(io.StringIO()))
    assert told["result"] == "different"
    assert told["workspace"]["bytes"] == 3
    assert told["operations"][0]["seconds"] == 2.5
    assert told["operations"][0]["steps"] == [{"step": "freeze", "seconds": 1.5, "waits": 2}]
    assert told["comparison"]["differences"] == [{"path": "a", "what": "missing", "before": "", "after": ""}]
    assert told["comparison"]["skipped"] == {"pipe": "FIFO"}
    assert "freeze" in report.table()


def test_a_report_of_nothing_is_whole() -> None:
    told = Report().to_json(Story(io.StringIO()))
    assert told["result"] == "interrupted"
    assert told["comparison"]["compared"] == 0
