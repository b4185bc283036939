"""The monitor's side of the guard: starting it, telling it, delivering what it did."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from agents.contact import (
    FACT_FILE,
    RESTART_SECONDS,
    STATE_FILE,
    GuardLink,
    forget_fact,
    keep_fact,
    kept_fact,
    send,
)
from agents.guard.inbox import Inbox
from agents.protocol import GuardFact, GuardOutcome, GuardTerms, Reply

TERMS = GuardTerms(3600.0, 5.0, "vast", "555")
FACT = GuardFact("f1", GuardOutcome.STOPPED, "2026-01-01T00:00:00Z", 21600, "6 h without contact")


class Started:
    """A command that notes each start in a file and ends."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.now = 0.0
        self.link = GuardLink(
            home,
            [sys.executable, "-S", "-c", f"open({str(home / 'starts')!r}, 'a').write('x')"],
            lambda: self.now,
        )

    def wait(self) -> int:
        if self.link._child is not None:
            self.link._child.wait(10)
        return self.count

    @property
    def count(self) -> int:
        path = self.home / "starts"
        return len(path.read_text()) if path.exists() else 0


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    started = Started(tmp_path)
    yield started
    started.wait()


def heard(terms: GuardTerms | None = TERMS, **more: str) -> Reply:
    return Reply("running", more.pop("action", "none"), 30, terms, **more)


def test_no_guard_before_the_control_plane_wants_one(started: Started) -> None:
    started.link.attend()
    started.link.heard(heard(None))
    started.link.heard(heard(GuardTerms(0, 5.0, "vast", "555")))
    assert started.wait() == 0


def test_the_first_terms_start_it_and_reach_it_though_it_begins_late(started: Started) -> None:
    started.link.heard(heard())
    assert started.wait() == 1
    with Inbox(started.home) as inbox:
        started.link.attend()
        assert inbox.receive(1) == {"contact": asdict(TERMS)}
        started.link.attend()
        assert inbox.receive(0.05) is None


def test_one_that_ended_is_started_again_but_not_at_once(started: Started) -> None:
    started.link.heard(heard())
    started.wait()
    started.link.attend()
    assert started.wait() == 1
    started.now = RESTART_SECONDS
    started.link.attend()
    assert started.wait() == 2


def test_one_that_lives_is_left_alone(tmp_path: Path) -> None:
    link = GuardLink(tmp_path, [sys.executable, "-S", "-c", "import time; time.sleep(60)"])
    link.heard(heard())
    child = link._child
    assert child is not None
    try:
        link.heard(heard())
        assert link._child is child
    finally:
        child.kill()
        child.wait(10)


def test_a_guard_of_an_earlier_monitor_makes_room(started: Started) -> None:
    with Inbox(started.home) as old:
        started.link.heard(heard())
        assert old.receive(1) == {"end": True}
        started.wait()


def test_it_is_started_in_a_silence_when_it_was_wanted_before(started: Started) -> None:
    (started.home / STATE_FILE).write_text('{"terms": {"after_seconds": 60, "gpu_usage_threshold": 5, '
                                           '"provider": "vast", "contract_id": "555"}}')  # fmt: skip
    again = Started(started.home)
    again.link.attend()
    assert again.wait() == 1


def test_each_contact_is_told_with_the_terms_last_heard(started: Started) -> None:
    with Inbox(started.home) as inbox:
        for terms in (TERMS, None):
            started.link.heard(heard(terms))
            told = [inbox.receive(1) for _ in range(2)]
            assert {"contact": asdict(TERMS)} in told
        started.link.heard(heard(GuardTerms(0, 5.0, "vast", "555")))
        assert (inbox.receive(1) or {})["contact"]["after_seconds"] == 0


def test_a_released_machine_keeps_no_guard(started: Started) -> None:
    started.link.heard(heard())
    started.wait()
    with Inbox(started.home) as inbox:
        started.link.heard(heard(action="stop"))
        assert inbox.receive(1) == {"end": True}
    started.now = 2 * RESTART_SECONDS
    started.link.attend()
    assert started.wait() == 1


def test_a_command_that_cannot_be_run_costs_no_heartbeat(tmp_path: Path) -> None:
    GuardLink(tmp_path / "not-there", ["/no/such/python"]).heard(heard())


def test_a_fact_is_kept_until_that_very_one_was_noted(started: Started) -> None:
    keep_fact(started.home, FACT)
    started.link.heard(heard(None, guard_noted="other"))
    assert kept_fact(started.home) == FACT
    started.link.heard(heard(None, guard_noted="f1"))
    assert kept_fact(started.home) is None
    forget_fact(started.home, "f1")


@pytest.mark.parametrize("text", ["", "{}", '{"id": 1, "outcome": "exploded"}', "[", "\0"])
def test_a_damaged_fact_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / FACT_FILE).write_text(text)
    assert kept_fact(tmp_path) is None


def test_a_message_to_nobody_is_told(tmp_path: Path) -> None:
    began = time.monotonic()
    assert not send(tmp_path, {})
    assert time.monotonic() - began < 0.5
