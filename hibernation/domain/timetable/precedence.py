"""Who wins when a schedule meets people, work and the idle rule. Pure; the tables below are the rules themselves.

A due leg is asked about when it starts and again whenever it waited; the first row that fits answers.

A person's act wins until the schedule's next occurrence: it ends what is still waiting of an earlier one, and a later
occurrence acts whatever was done by hand before it. The idle rule goes on at all times, in the window and outside;
``stay_awake`` holds it back while a window is open.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from hibernation.domain.backoff import retry_seconds
from hibernation.domain.states import InstanceStatus
from hibernation.domain.timetable.misfire import GRACE
from hibernation.domain.timetable.occurrences import NO_LEAD, Window, window_at
from hibernation.domain.timetable.rules import Timetable

_S = InstanceStatus
_AWAKE = frozenset({_S.RUNNING, _S.IDLE})
_STARTING = frozenset({_S.PROVISIONING, _S.WAKING})
_ASLEEP = frozenset({_S.HIBERNATED, _S.DELETED})


class WhenBusy(StrEnum):
    """What a sleep does about a machine at work: waits until it is idle, or leaves it to the idle rule."""

    WAIT = "wait"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Terms:
    """How a schedule behaves. ``ready_by``: wakes start early, to be usable at their time rather than begun."""

    ready_by: bool = False
    force: bool = False
    when_busy: WhenBusy = WhenBusy.WAIT
    wait_at_most: timedelta = timedelta(hours=2)
    give_up_after: timedelta = timedelta(hours=1)
    stay_awake: bool = False
    grace: timedelta = GRACE


@dataclass(frozen=True, slots=True)
class Situation:
    """An occurrence that came due, and its instance now.

    ``idle``: seen idle over the whole window, by the idle rule's own measure whether or not that rule is switched on.
    ``kept_alive``: a busy lease runs. ``overruled``: a person acted, or a later occurrence started, since this one
    started. ``wakeable``: there is a copy to wake from, or a first start. ``tried``: this wake was attempted before.
    """

    now: datetime
    due_at: datetime
    terms: Terms
    status: InstanceStatus
    idle: bool = False
    kept_alive: bool = False
    overruled: bool = False
    wakeable: bool = True
    tried: bool = False

    @property
    def late(self) -> timedelta:
        return self.now - self.due_at


class Answer(StrEnum):
    """``act``: ask for the operation, forced if the terms say so. ``wait``: ask again later. ``skip``: not done, and
    reported. ``done``: it is already as the schedule wants it."""

    ACT = "act"
    WAIT = "wait"
    SKIP = "skip"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table: if this fits, that is the answer, for this reason."""

    fits: Callable[[Situation], bool]
    answer: Answer
    reason: str


SLEEP_TABLE: tuple[Row, ...] = (
    Row(lambda s: s.overruled, Answer.SKIP, "overruled by what was done since"),
    Row(lambda s: s.status in _ASLEEP, Answer.DONE, "it sleeps already"),
    Row(lambda s: s.status is _S.HIBERNATING, Answer.DONE, "it is being hibernated already"),
    Row(lambda s: s.status not in _AWAKE | _STARTING, Answer.SKIP, "there is no machine to put to sleep"),
    Row(lambda s: s.idle and s.status in _AWAKE and not s.kept_alive, Answer.ACT, "it is idle"),
    Row(lambda s: s.terms.force and not s.kept_alive, Answer.ACT, "its schedule does not ask for idleness"),
    Row(lambda s: s.terms.when_busy is WhenBusy.SKIP, Answer.SKIP, "it is busy"),
    Row(
        lambda s: s.late >= s.terms.wait_at_most, Answer.SKIP, "it was busy for as long as its schedule waits"
    ),
    Row(lambda s: True, Answer.WAIT, "it is busy"),
)
"""A machine that is just starting counts as busy: nobody knows yet what it is for. A busy lease holds even against
``force``: it is a person's word about this very hour, and it ends by itself."""

WAKE_TABLE: tuple[Row, ...] = (
    Row(lambda s: s.overruled, Answer.SKIP, "overruled by what was done since"),
    Row(lambda s: s.status in _AWAKE, Answer.DONE, "it is awake already"),
    Row(lambda s: s.status in _STARTING, Answer.WAIT, "a wake is in flight"),
    Row(lambda s: s.status is _S.RELEASED, Answer.SKIP, "it was released"),
    Row(lambda s: s.status is _S.HIBERNATING, Answer.ACT, "its hibernation is stopped or followed by a wake"),
    Row(lambda s: not s.wakeable, Answer.SKIP, "there is nothing to wake"),
    Row(
        lambda s: s.tried and s.late >= s.terms.give_up_after, Answer.SKIP, "no machine was to be had in time"
    ),
    Row(lambda s: True, Answer.ACT, "it sleeps"),
)
"""A wake in flight is waited for rather than taken as done: if it fails, this occurrence tries again until
``give_up_after``. The first try is always made, however short that is."""


def decide_sleep(situation: Situation) -> Row:
    """The row of ``SLEEP_TABLE`` that answers."""
    return _first(SLEEP_TABLE, situation)


def decide_wake(situation: Situation) -> Row:
    """The row of ``WAKE_TABLE`` that answers."""
    return _first(WAKE_TABLE, situation)


def retry_wake_after(failures: int) -> timedelta:
    """The pause before a wake that found no machine is tried again: from 30 s, doubling, to 10 minutes."""
    return timedelta(seconds=retry_seconds(max(0, failures - 1), first=30.0, cap=600.0))


def holds_idle(timetable: Timetable, terms: Terms, now: datetime, lead: timedelta = NO_LEAD) -> Window | None:
    """The open window that keeps the idle rule from hibernating now; it does so until ``sleep.due_at``."""
    return window_at(timetable, now, lead) if terms.stay_awake else None


def _first(table: Sequence[Row], situation: Situation) -> Row:
    return next(row for row in table if row.fits(situation))
