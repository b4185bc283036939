"""What becomes of occurrences that nobody acted on in time, because the server was down. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from hibernation.domain.durations import in_words
from hibernation.domain.timetable.occurrences import Occurrence

GRACE = timedelta(minutes=15)
"""How late an occurrence may still be acted on, unless the schedule says otherwise."""


class Verdict(StrEnum):
    RUN = "run"
    MISSED = "missed"


@dataclass(frozen=True, slots=True)
class Settled:
    """What is to be done about one occurrence, and why, in a sentence."""

    occurrence: Occurrence
    verdict: Verdict
    reason: str


def decide_misfire(occurrence: Occurrence, now: datetime, grace: timedelta) -> Verdict:
    """Whether an occurrence that has to start by ``now`` is still acted on: up to ``grace`` after it was due."""
    return Verdict.RUN if now <= occurrence.due_at + grace else Verdict.MISSED


def catch_up(due: Sequence[Occurrence], now: datetime, grace: timedelta) -> list[Settled]:
    """One answer for each of ``due``, in the order they came due.

    Only the last says what people want now, and runs if it is within its grace. The earlier ones are missed, however
    fresh: to wake a machine only to put it to sleep again costs money and serves nobody.
    """
    settled = [Settled(old, Verdict.MISSED, f"the {due[-1].leg} after it is due as well") for old in due[:-1]]
    return [*settled, *(_last(occurrence, now, grace) for occurrence in due[-1:])]


def _last(occurrence: Occurrence, now: datetime, grace: timedelta) -> Settled:
    verdict = decide_misfire(occurrence, now, grace)
    late = in_words(now - occurrence.due_at)
    if verdict is Verdict.RUN:
        return Settled(occurrence, verdict, "due" if now <= occurrence.due_at else f"due {late} ago")
    return Settled(occurrence, verdict, f"due {late} ago, and the grace is {in_words(grace)}")
