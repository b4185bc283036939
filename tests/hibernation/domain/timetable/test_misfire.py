"""What becomes of occurrences that nobody acted on in time."""

from __future__ import annotations

from datetime import timedelta

import pytest

from hibernation.domain.timetable import Leg, Verdict, catch_up, decide_misfire
from tests.hibernation.domain.timetable.factories import at, due_at

GRACE = timedelta(minutes=15)


@pytest.mark.parametrize(
    ("now", "verdict"),
    [
        ("08:50:00", Verdict.RUN),
        ("09:00:00", Verdict.RUN),
        ("09:15:00", Verdict.RUN),
        ("09:15:01", Verdict.MISSED),
    ],
)
def test_an_occurrence_is_acted_on_within_its_grace(now: str, verdict: Verdict) -> None:
    assert decide_misfire(due_at("2026-01-05 09:00"), at(f"2026-01-05 {now}"), GRACE) is verdict


def test_of_several_only_the_last_runs() -> None:
    missed = [due_at("2026-01-05 09:00"), due_at("2026-01-05 18:00", Leg.SLEEP), due_at("2026-01-06 09:00")]
    settled = catch_up(missed, at("2026-01-06 09:05"), GRACE)
    assert [one.occurrence for one in settled] == missed
    assert [one.verdict for one in settled] == [Verdict.MISSED, Verdict.MISSED, Verdict.RUN]
    assert [one.reason for one in settled] == [
        "the wake after it is due as well",
        "the wake after it is due as well",
        "due 5 min ago",
    ]


def test_an_earlier_one_within_its_grace_is_missed_all_the_same() -> None:
    settled = catch_up(
        [due_at("2026-01-06 08:55", Leg.SLEEP), due_at("2026-01-06 09:00")], at("2026-01-06 09:00"), GRACE
    )
    assert [one.verdict for one in settled] == [Verdict.MISSED, Verdict.RUN]


def test_a_last_one_past_its_grace_is_missed_as_well() -> None:
    [settled] = catch_up([due_at("2026-01-06 09:00")], at("2026-01-06 12:30"), GRACE)
    assert settled.verdict is Verdict.MISSED
    assert settled.reason == "due 3 h ago, and the grace is 15 min"


def test_one_that_starts_early_is_due() -> None:
    [settled] = catch_up([due_at("2026-01-06 09:00")], at("2026-01-06 08:50"), GRACE)
    assert (settled.verdict, settled.reason) == (Verdict.RUN, "due")


def test_nothing_due_settles_nothing() -> None:
    assert catch_up([], at("2026-01-06 09:00"), GRACE) == []
