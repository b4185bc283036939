"""The guard as a whole on a clock of the test: restarts, boots, holds, disks that fail, and what people are told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from agents.contact import STATE_FILE, address, kept_fact, send
from agents.guard.asking import Asking
from agents.guard.countdown import Look, pace
from agents.guard.inbox import Inbox
from agents.guard.process import MAX_HOLD_SECONDS, Guard, boot_of, load, run
from agents.guard.signs import Signs
from agents.guard.stop import Answer, Powerless, Told
from agents.guard.warning import FILE, LastWarning
from agents.identity import AlreadyRunning
from agents.protocol import GuardOutcome, GuardTerms

HOUR = 3600.0
TERMS = asdict(GuardTerms(6 * HOUR, 5.0, "vast", "555"))
PACE = pace(6 * HOUR)


class FakeSigns(Signs):
    """A box that shows what the test says; ``watched`` tells whether its GPUs are being read."""

    def __init__(self) -> None:
        self.shows = Look()
        self.watched = False

    def open(self, period: float) -> None:
        self.watched = True

    def close(self) -> None:
        self.watched = False

    def look(self, threshold: float, session: float) -> Look:
        assert threshold == 5.0
        return self.shows


class Box:
    """One agent home; ``guard`` is the process of the moment."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.now = 1000.0
        self.boot = "boot-1"
        self.signs = FakeSigns()
        self.asked: list[float] = []
        self.shouted: list[str] = []
        self.powerless = ""
        self.restart()

    def restart(self) -> None:
        asking = Asking(self.home, lambda terms: self.stopper(), lambda: self.now)
        warning = LastWarning(self.home, "agents guard", self.shouted.append)
        self.guard = Guard(self.home, self.signs, asking, warning, self.boot, lambda: self.now)
        self.guard._chance = 0.5

    def stopper(self) -> Box:
        if self.powerless:
            raise Powerless(self.powerless)
        return self

    def reach(self) -> str:
        return ""

    def stop(self) -> Answer:
        self.asked.append(self.now)
        return Answer(Told.ACCEPTED)

    def contact(self) -> None:
        assert self.guard.hear({"contact": TERMS})

    def run(self, hours: float) -> None:
        until = self.now + hours * HOUR
        while self.now < until:
            self.now += PACE.tick
            self.guard.tick()


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Days of ticks in a second or two."""
    monkeypatch.setattr("os.fsync", lambda fd: None)


@pytest.fixture
def box(tmp_path: Path) -> Box:
    box = Box(tmp_path)
    box.contact()
    return box


def test_silence_and_idleness_for_hours_stop_the_machine(box: Box) -> None:
    box.run(5.9)
    assert box.asked == []
    box.run(0.5)
    assert box.asked
    assert (
        6 * HOUR <= box.asked[0] - 1000 <= 6 * HOUR + PACE.quiet + PACE.jitter + PACE.settle + 2 * PACE.tick
    )


def test_a_control_plane_that_speaks_keeps_it_running_for_ever(box: Box) -> None:
    for _ in range(50):
        box.run(0.5)
        box.contact()
    assert box.asked == box.shouted == []


def test_work_keeps_it_running_for_ever(box: Box) -> None:
    for _ in range(6):
        box.run(5)
        box.signs.shows = Look("a GPU is at 90 %")
        box.run(0.01)
        box.signs.shows = Look()
    assert box.asked == []


def test_gpus_are_read_only_while_nobody_is_heard(box: Box) -> None:
    box.run(0.01)
    assert not box.signs.watched
    box.run(0.1)
    assert box.signs.watched
    box.contact()
    box.run(0.01)
    assert not box.signs.watched


def test_restarts_of_the_guard_do_not_begin_the_countdown_anew(box: Box) -> None:
    for _ in range(13):
        box.run(0.5)
        box.restart()
    assert box.asked


@pytest.mark.parametrize("away", [0.1, 8.0, 1000.0])
def test_hours_without_a_guard_are_not_hours_of_idleness(box: Box, away: float) -> None:
    box.run(5.9)
    box.now += away * HOUR
    box.restart()
    box.run(5.9)
    assert box.asked == []
    box.run(0.5)
    assert box.asked


def test_a_box_that_slept_begins_anew(box: Box) -> None:
    box.run(5.9)
    box.now += 8 * HOUR
    box.run(5.9)
    assert box.asked == []


def test_a_machine_that_was_started_again_is_given_the_whole_window(box: Box) -> None:
    box.run(6.5)
    box.boot, box.now, box.asked = "boot-2", 1000.0, []
    box.restart()
    box.run(5.9)
    assert box.asked == []
    box.run(0.5)
    assert box.asked


def test_a_boot_whose_clock_is_as_far_counts_nothing_of_before(box: Box) -> None:
    box.run(5.9)
    box.boot = "boot-2"
    box.restart()
    box.run(0.5)
    assert box.asked == []


def test_a_contact_is_kept_over_a_restart(box: Box) -> None:
    box.run(5.9)
    box.contact()
    box.restart()
    box.run(5)
    assert box.asked == []


@pytest.mark.parametrize(
    "kept",
    [
        "",
        "not json",
        "[1]",
        '{"silent": 1e99}',
        '{"silent": "6", "idle": 1, "held": 0, "at": 0, "boot": "boot-1"}',
        '{"silent": NaN, "idle": Infinity, "held": -1, "at": 1000, "boot": "boot-1"}',
        '{"silent": 0, "idle": 99999, "held": 0, "at": 1000, "boot": "boot-1"}',
    ],
)
def test_a_damaged_file_invents_no_countdown(tmp_path: Path, kept: str) -> None:
    whole = json.dumps({"terms": TERMS})[:-1]
    for text in (kept, f"{whole},{kept[1:]}"):
        (tmp_path / STATE_FILE).write_text(text)
        box = Box(tmp_path)
        box.contact()
        box.run(5.9)
        assert box.asked == []


def test_without_terms_nothing_ever_happens(tmp_path: Path) -> None:
    box = Box(tmp_path)
    box.run(20)
    assert box.asked == []


def test_terms_are_kept_for_a_guard_that_starts_in_the_silence(box: Box) -> None:
    box.restart()
    box.run(7)
    assert box.asked


def test_a_read_only_disk_costs_nothing_but_restarts(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, text: str) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("agents.guard.process.write_atomically", refuse)
    monkeypatch.setattr("agents.contact.write_atomically", refuse)
    box.run(6.5)
    assert box.asked
    box.contact()
    asked = len(box.asked)
    box.restart()
    box.run(5.9)
    assert len(box.asked) == asked


def test_whoever_is_there_is_warned_once_and_in_time(box: Box) -> None:
    box.run(5.8)
    assert not (box.home / FILE).exists()
    box.run(0.25)
    assert "agents guard --hold 8" in (box.home / FILE).read_text()
    assert len(box.shouted) == 1
    assert box.asked == []


def test_a_machine_that_cannot_be_stopped_warns_nobody_and_reports(box: Box) -> None:
    box.powerless = "a machine of the provider local cannot stop itself"
    box.run(7)
    fact = kept_fact(box.home)
    assert fact is not None
    assert fact.outcome is GuardOutcome.UNABLE
    assert box.shouted == box.asked == []


@pytest.mark.parametrize("called_off_by", ["contact", "hold", "work"])
def test_a_warning_is_taken_back(box: Box, called_off_by: str) -> None:
    box.run(6.2)
    if called_off_by == "contact":
        box.contact()
    elif called_off_by == "hold":
        box.guard.hear({"hold": HOUR})
    else:
        box.signs.shows = Look("somebody is logged in over SSH")
        box.run(0.01)
    assert not (box.home / FILE).exists()
    asked = len(box.asked)
    box.signs.shows = Look()
    box.run(5.9)
    assert len(box.asked) == asked


def test_a_hold_lasts_over_restarts_and_contacts(box: Box) -> None:
    box.guard.hear({"hold": 20 * HOUR})
    box.contact()
    for _ in range(10):
        box.run(2)
        box.restart()
    assert box.asked == []
    box.run(6.5)
    assert box.asked


@pytest.mark.parametrize(
    "nonsense", [{}, {"hold": -1}, {"hold": "8"}, {"contact": 5}, {"end": 1}, {"contact": None}]
)
def test_nonsense_changes_nothing(box: Box, nonsense: dict[str, object]) -> None:
    before = box.guard.state
    assert box.guard.hear(nonsense)
    assert box.guard.state == before


def test_a_hold_has_an_end(box: Box) -> None:
    box.guard.hear({"hold": 1e12})
    assert box.guard.state.held == MAX_HOLD_SECONDS


def test_it_goes_when_no_guard_is_wanted(box: Box) -> None:
    assert not box.guard.hear({"contact": {**TERMS, "after_seconds": 0}})
    state, _ = load(box.home / STATE_FILE, box.boot)
    assert state.window == 0


def test_blindness_is_told_and_stops_nothing(box: Box, caplog: pytest.LogCaptureFixture) -> None:
    box.signs.shows = Look("the driver is gone", unknown=True)
    with caplog.at_level("WARNING", "dumont.agent"):
        box.run(30)
    fact = kept_fact(box.home)
    assert fact is not None
    assert fact.outcome is GuardOutcome.UNABLE
    assert "the driver is gone" in fact.reason
    assert box.asked == []
    assert len(caplog.records) == 4


def test_a_container_that_was_started_again_is_another_boot(tmp_path: Path) -> None:
    assert boot_of() == boot_of()
    assert boot_of(tmp_path / "none") != boot_of()


@pytest.fixture
def running(box: Box) -> Iterator[threading.Thread]:
    """The loop itself, in a thread."""

    def guard() -> None:
        with Inbox(box.home) as inbox:
            run(box.guard, inbox)

    thread = threading.Thread(target=guard)
    thread.start()
    until(lambda: send(box.home, {}))
    yield thread
    send(box.home, {"end": True})
    thread.join(5)


def until(condition: object, seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_the_loop_hears_and_ends(box: Box, running: threading.Thread) -> None:
    assert send(box.home, {"hold": 60})
    until(lambda: box.guard.state.held > 0)
    assert send(box.home, {"end": True})
    running.join(5)
    assert not running.is_alive()
    assert not send(box.home, {})


def test_there_is_one_guard(box: Box, running: threading.Thread) -> None:
    with pytest.raises(AlreadyRunning):
        Inbox(box.home, patience=0.1)


def test_the_loop_survives_noise(box: Box, running: threading.Thread) -> None:
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        for noise in (b"", b"\xff\xfe", b"[]", b"{", b"[" * 9000):
            out.sendto(noise, address(box.home))
    assert send(box.home, {"hold": 60})
    until(lambda: box.guard.state.held > 0)


def test_it_ends_where_the_agent_was_removed(box: Box, running: threading.Thread) -> None:
    home = box.home.rename(box.home.with_name("gone"))
    running.join(60)
    assert not running.is_alive()
    home.rename(box.home)
