"""Who wins: every row of both tables, and over all situations there are the promises that must hold in each."""

from __future__ import annotations

from datetime import timedelta
from itertools import product
from typing import Any

import pytest

from hibernation.domain.states import InstanceStatus as S
from hibernation.domain.timetable import (
    SLEEP_TABLE,
    WAKE_TABLE,
    Answer,
    Situation,
    Terms,
    WhenBusy,
    decide_sleep,
    decide_wake,
    holds_idle,
    retry_wake_after,
)
from tests.hibernation.domain.timetable.factories import a_timetable, at

DUE = at("2026-01-05 18:00")
LATE = timedelta(hours=2)
SKIP_BUSY, FORCED = Terms(when_busy=WhenBusy.SKIP), Terms(force=True)


def situation(status: S = S.RUNNING, *, late: timedelta = timedelta(0), **changes: Any) -> Situation:
    return Situation(DUE + late, DUE, changes.pop("terms", Terms()), status, **changes)


@pytest.mark.parametrize(
    ("given", "answer", "words"),
    [
        (situation(S.IDLE, idle=True), Answer.ACT, "it is idle"),
        (situation(S.RUNNING), Answer.WAIT, "busy"),
        (situation(S.RUNNING, terms=SKIP_BUSY), Answer.SKIP, "busy"),
        (situation(S.RUNNING, late=LATE - timedelta(seconds=1)), Answer.WAIT, "busy"),
        (situation(S.RUNNING, late=LATE), Answer.SKIP, "as long as its schedule waits"),
        (situation(S.IDLE, idle=True, late=LATE), Answer.ACT, "it is idle"),
        (situation(S.RUNNING, terms=FORCED), Answer.ACT, "does not ask"),
        (situation(S.IDLE, idle=True, kept_alive=True), Answer.WAIT, "busy"),
        (situation(S.RUNNING, terms=FORCED, kept_alive=True), Answer.WAIT, "busy"),
        (situation(S.RUNNING, terms=FORCED, kept_alive=True, late=LATE), Answer.SKIP, "as long as"),
        (situation(S.WAKING), Answer.WAIT, "busy"),
        (situation(S.WAKING, idle=True), Answer.WAIT, "busy"),
        (situation(S.WAKING, terms=FORCED), Answer.ACT, "does not ask"),
        (situation(S.PROVISIONING, terms=SKIP_BUSY), Answer.SKIP, "busy"),
        (situation(S.HIBERNATING), Answer.DONE, "being hibernated"),
        (situation(S.HIBERNATED), Answer.DONE, "sleeps"),
        (situation(S.DELETED), Answer.DONE, "sleeps"),
        (situation(S.FAILED), Answer.SKIP, "no machine"),
        (situation(S.RELEASED, terms=FORCED), Answer.SKIP, "no machine"),
        (situation(S.IDLE, idle=True, overruled=True), Answer.SKIP, "overruled"),
        (situation(S.RUNNING, terms=FORCED, overruled=True), Answer.SKIP, "overruled"),
    ],
)
def test_a_sleep(given: Situation, answer: Answer, words: str) -> None:
    row = decide_sleep(given)
    assert row.answer is answer
    assert words in row.reason


@pytest.mark.parametrize(
    ("given", "answer", "words"),
    [
        (situation(S.HIBERNATED), Answer.ACT, "it sleeps"),
        (situation(S.DELETED), Answer.ACT, "it sleeps"),
        (situation(S.FAILED), Answer.ACT, "it sleeps"),
        (situation(S.HIBERNATING), Answer.ACT, "stopped or followed"),
        (situation(S.RUNNING), Answer.DONE, "awake"),
        (situation(S.IDLE, idle=True), Answer.DONE, "awake"),
        (situation(S.WAKING), Answer.WAIT, "in flight"),
        (situation(S.WAKING, tried=True, late=LATE), Answer.WAIT, "in flight"),
        (situation(S.PROVISIONING), Answer.WAIT, "in flight"),
        (situation(S.RELEASED), Answer.SKIP, "released"),
        (situation(S.HIBERNATED, wakeable=False), Answer.SKIP, "nothing to wake"),
        (situation(S.HIBERNATED, tried=True), Answer.ACT, "it sleeps"),
        (situation(S.HIBERNATED, tried=True, late=LATE), Answer.SKIP, "no machine was to be had"),
        (situation(S.HIBERNATED, late=LATE), Answer.ACT, "it sleeps"),
        (situation(S.HIBERNATED, overruled=True), Answer.SKIP, "overruled"),
        (situation(S.HIBERNATED, kept_alive=True), Answer.ACT, "it sleeps"),
    ],
)
def test_a_wake(given: Situation, answer: Answer, words: str) -> None:
    row = decide_wake(given)
    assert row.answer is answer
    assert words in row.reason


def every_situation() -> list[Situation]:
    yes_or_no = (False, True)
    terms = [Terms(force=force, when_busy=busy) for force in yes_or_no for busy in WhenBusy]
    return [
        situation(
            status,
            late=late,
            terms=term,
            idle=idle,
            kept_alive=kept,
            overruled=overruled,
            wakeable=wakeable,
            tried=tried,
        )
        for status, late, term, idle, kept, overruled, wakeable, tried in product(
            S, (timedelta(0), LATE), terms, yes_or_no, yes_or_no, yes_or_no, yes_or_no, yes_or_no
        )
    ]


EVERY = every_situation()


def test_every_row_of_the_tables_answers_somewhere() -> None:
    assert {id(decide_sleep(given)) for given in EVERY} == {id(row) for row in SLEEP_TABLE}
    assert {id(decide_wake(given)) for given in EVERY} == {id(row) for row in WAKE_TABLE}


def sleep_by_hand(given: Situation) -> Answer:
    """The sleep table, told another way: by what stands against it."""
    if given.overruled or given.status in (S.FAILED, S.RELEASED):
        return Answer.SKIP
    if given.status in (S.HIBERNATED, S.DELETED, S.HIBERNATING):
        return Answer.DONE
    free = given.terms.force or (given.idle and given.status in (S.RUNNING, S.IDLE))
    if free and not given.kept_alive:
        return Answer.ACT
    patient = given.terms.when_busy is WhenBusy.WAIT and given.late < given.terms.wait_at_most
    return Answer.WAIT if patient else Answer.SKIP


def wake_by_hand(given: Situation) -> Answer:
    if given.overruled or given.status is S.RELEASED:
        return Answer.SKIP
    if given.status in (S.RUNNING, S.IDLE):
        return Answer.DONE
    if given.status in (S.WAKING, S.PROVISIONING):
        return Answer.WAIT
    gave_up = given.tried and given.late >= given.terms.give_up_after
    possible = given.wakeable and not gave_up
    return Answer.ACT if possible or given.status is S.HIBERNATING else Answer.SKIP


def test_the_tables_hold_in_every_situation() -> None:
    assert len(EVERY) == 9 * 2 * 4 * 32
    assert [decide_sleep(given).answer for given in EVERY] == [sleep_by_hand(given) for given in EVERY]
    assert [decide_wake(given).answer for given in EVERY] == [wake_by_hand(given) for given in EVERY]


def test_no_sleep_acts_on_work_that_it_may_not_end() -> None:
    acting = [given for given in EVERY if decide_sleep(given).answer is Answer.ACT]
    assert not [given for given in acting if given.kept_alive or not (given.idle or given.terms.force)]


def test_nothing_acts_against_what_was_done_since() -> None:
    overruled = [given for given in EVERY if given.overruled]
    answers = {decide(given).answer for given in overruled for decide in (decide_sleep, decide_wake)}
    assert answers == {Answer.SKIP}


def test_nothing_waits_for_ever() -> None:
    """A wake in flight ends by its own deadline."""
    late = [given for given in EVERY if given.late >= LATE]
    assert not [given for given in late if decide_sleep(given).answer is Answer.WAIT]
    waiting = {given.status for given in late if decide_wake(given).answer is Answer.WAIT}
    assert waiting == {S.WAKING, S.PROVISIONING}


@pytest.mark.parametrize(
    ("failures", "seconds"), [(0, 30), (1, 30), (2, 60), (5, 480), (6, 600), (10**6, 600)]
)
def test_a_wake_without_a_machine_is_tried_again_ever_more_rarely(failures: int, seconds: int) -> None:
    assert retry_wake_after(failures) == timedelta(seconds=seconds)


def test_the_idle_rule_works_inside_the_window_by_default() -> None:
    assert holds_idle(a_timetable(), Terms(), at("2026-01-05 12:00")) is None


def test_stay_awake_holds_the_idle_rule_until_the_sleep() -> None:
    window = holds_idle(a_timetable(), Terms(stay_awake=True), at("2026-01-05 12:00"))
    assert window is not None
    assert window.sleep.due_at == at("2026-01-05 18:00")


@pytest.mark.parametrize("now", ["08:59", "18:00"])
def test_stay_awake_holds_nothing_outside_the_window(now: str) -> None:
    assert holds_idle(a_timetable(), Terms(stay_awake=True), at(f"2026-01-05 {now}")) is None
