"""Whatever beat does, stopped, doubled, edited, thrown through time, each occurrence acts once, and in its hour."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest
from django_celery_beat.models import PeriodicTask, PeriodicTasks
from pytest_django import Settings

from hibernation.models import Instance, Schedule
from hibernation.services.schedules import delete_schedule, sync_schedules
from tests.factories import make_hibernated, make_machine
from tests.hibernation.services.schedules.beat import Beat, Time, time_at
from tests.hibernation.services.schedules.day import at, keep, runs
from tests.hibernation.services.world import World

pytestmark = pytest.mark.django_db


@pytest.fixture
def passing(monkeypatch: pytest.MonkeyPatch, world: World) -> Iterator[Time]:
    """It is 08:30 in Sao Paulo. Whatever happens, no act begins more than one operation, nor at another time."""
    with time_at(at(8, 30), monkeypatch) as found:
        yield found
    acts = Counter((_KIND[leg], minute) for leg, _, minute in found.acts)
    assert Counter(found.began) <= acts


_KIND = {"wake": "wake", "sleep": "hibernate"}


def sleeper(**more: Any) -> Instance:
    instance = make_hibernated()
    make_machine(instance)
    keep(instance, force=True, **more)
    return instance


NINE, SIX = ("wake", "09:00", at(9)), ("sleep", "18:00", at(18))


def test_beat_alone_wakes_and_puts_to_sleep_on_the_minute(passing: Time) -> None:
    sleeper()
    beat = Beat()
    passing.pass_until(at(18, 30), beat)
    assert passing.acts == [NINE, SIX]
    assert [name.rpartition(" ")[2] for name, _ in beat.poked] == ["wake", "sleep"]


def test_the_tick_alone_does_the_same(passing: Time) -> None:
    sleeper()
    passing.pass_until(at(18, 30), ticks=True)
    assert passing.acts == [NINE, SIX]


def test_two_beats_and_the_tick_act_once(passing: Time) -> None:
    sleeper()
    one, other = Beat(), Beat()
    passing.pass_until(at(18, 30), one, other, ticks=True)
    assert passing.acts == [NINE, SIX]
    assert len(one.poked) == len(other.poked) == 2


def test_a_beat_that_was_down_a_while_is_covered_by_the_tick(passing: Time) -> None:
    instance = sleeper()
    passing.pass_until(at(8, 55), Beat(), ticks=True)
    passing.to(at(9, 10))
    beat = Beat()
    passing.pass_until(at(9, 20), beat, ticks=True)
    assert passing.acts == [("wake", "09:00", at(9, 10))]
    assert beat.poked == []
    assert runs(instance)[0][2] in ("started", "done")


def test_a_beat_that_was_down_too_long_wakes_at_no_wrong_hour(passing: Time) -> None:
    instance = sleeper()
    passing.pass_until(at(8, 55), Beat(), ticks=True)
    passing.to(at(12))
    passing.pass_until(at(12, 30), Beat(), ticks=True)
    assert passing.acts == []
    assert runs(instance) == [("wake", "09:00", "missed")]


def test_a_beat_that_missed_the_night_pokes_only_what_is_due(passing: Time) -> None:
    """Without a starting deadline 2.9.0 fires a 22:00 entry at 20:00 the next day, and again at 22:00."""
    sleeper(sleep_time=time(22))
    passing.pass_until(at(9, 10), Beat(), ticks=True)
    passing.to(at(20, day=1))
    beat = Beat()
    passing.pass_until(at(22, 10, day=1), beat, ticks=True)
    assert [act[2] for act in passing.acts] == [at(9), at(22, day=1)]
    assert [moment for _, moment in beat.poked] == [at(22, day=1)]


def test_an_entry_edited_to_the_past_is_not_caught_up(passing: Time) -> None:
    instance = sleeper(wake_time=time(11))
    beat = Beat()
    passing.pass_until(at(9, 30), beat, ticks=True)
    keep(instance, wake_time=time(9), force=True)
    passing.pass_until(at(17), beat, ticks=True)
    assert passing.acts == []
    assert beat.poked == []
    passing.to(at(8, 59, day=1))
    passing.pass_until(at(9, 5, day=1), beat, ticks=True)
    assert passing.acts[-1] == ("wake", "09:00", at(9, day=1))


def test_an_entry_edited_to_half_a_minute_ago_does_not_even_poke(passing: Time) -> None:
    instance = sleeper(wake_time=time(11))
    beat = Beat()
    passing.pass_until(at(9, 0, 30), beat, ticks=True)
    keep(instance, wake_time=time(9), force=True)
    passing.pass_until(at(9, 5), beat, ticks=True)
    assert (beat.poked, passing.acts) == ([], [])


def test_an_edit_in_the_very_minute_loses_no_occurrence(passing: Time) -> None:
    instance = sleeper()
    beat = Beat()
    passing.pass_until(at(9), beat)
    keep(instance, force=True, give_up_after=timedelta(minutes=10))
    passing.pass_until(at(9, 5), beat, ticks=True)
    assert passing.acts == [NINE]


def test_a_schedule_deleted_while_it_is_due_does_nothing(passing: Time) -> None:
    instance = sleeper()
    beat = Beat()
    passing.pass_until(at(9), beat)
    in_memory = [entry for entry in beat.schedule.values() if entry.name.endswith("wake")]
    delete_schedule(instance.pk, actor="user:ana")
    for entry in in_memory:
        beat.apply_entry(entry)
    passing.pass_until(at(9, 5), beat, ticks=True)
    assert passing.acts == []


def test_one_made_anew_in_the_same_minute_does_not_act_twice(passing: Time) -> None:
    instance = sleeper()
    passing.pass_until(at(9, 1), Beat(), ticks=True)
    delete_schedule(instance.pk, actor="user:ana")
    passing.to(at(8, 59))
    keep(instance, force=True)
    passing.pass_until(at(9, 5), Beat(), ticks=True)
    assert passing.acts == [NINE]


def test_what_was_acted_on_is_not_begun_again_by_a_schedule_that_is_made_anew(passing: Time) -> None:
    instance = make_hibernated()
    keep(instance)
    passing.pass_until(at(9, 1), ticks=True)
    Instance.objects.filter(pk=instance.pk).update(status="hibernated")
    delete_schedule(instance.pk, actor="user:ana")
    passing.to(at(8, 59))
    keep(instance)
    passing.pass_until(at(9, 5), ticks=True)
    assert passing.began == [("wake", at(9))]


def test_a_clock_set_forward_and_back_acts_once_each_and_in_its_hour(passing: Time) -> None:
    sleeper()
    beat = Beat()
    passing.pass_until(at(9, 1), beat, ticks=True)
    for moment in (at(3, day=1), at(8, 50), at(12, day=2), at(8, 50)):
        passing.to(moment)
        passing.pass_until(moment + timedelta(minutes=20), beat, Beat(), ticks=True)
    assert passing.acts == [NINE]


def test_a_clock_set_back_over_a_due_time_repeats_nothing(passing: Time) -> None:
    sleeper()
    beat = Beat()
    passing.pass_until(at(9, 30), beat, ticks=True)
    passing.to(at(8, 30))
    passing.pass_until(at(18, 30), beat, ticks=True)
    assert passing.acts == [NINE, SIX]


def test_above_the_most_entries_beat_pokes_nobody_and_the_tick_alone_acts(
    passing: Time, settings: Settings
) -> None:
    settings.DUMONT_BEAT_ENTRIES_MOST = 3
    for _ in range(2):
        sleeper()
    beat = Beat()
    passing.pass_until(at(9, 1), beat, ticks=True)
    assert beat.poked == []
    assert [act[:2] for act in passing.acts] == [("wake", "09:00")] * 2


def test_an_entry_that_somebody_moved_pokes_in_vain_until_it_is_put_right(passing: Time) -> None:
    sleeper()
    row = PeriodicTask.objects.get(name__endswith="wake")
    assert row.crontab is not None
    row.crontab.hour = "8"
    row.crontab.minute = "40"
    row.crontab.save()
    PeriodicTasks.update_changed()
    beat = Beat()
    passing.pass_until(at(8, 45), beat)
    assert len(beat.poked) == 1
    assert passing.acts == []
    assert sync_schedules()
    passing.pass_until(at(9, 1), beat)
    assert passing.acts == [NINE]


def test_the_spring_forward_moves_a_wake_and_repeats_none(
    monkeypatch: pytest.MonkeyPatch, world: World
) -> None:
    """On 29 March 2026 clocks in Berlin go from 02:00 to 03:00: 02:30 does not exist."""
    with time_at(datetime(2026, 3, 29, 0, 30, tzinfo=UTC), monkeypatch) as passing:
        sleeper(wake_time=time(2, 30), timezone="Europe/Berlin")
        passing.pass_until(datetime(2026, 3, 29, 4, tzinfo=UTC), Beat(), Beat(), ticks=True)
    assert passing.acts == [("wake", "02:30", datetime(2026, 3, 29, 1, 30, tzinfo=UTC))]


def test_an_hour_that_comes_twice_wakes_once(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    """On 25 October 2026 clocks in Berlin go from 03:00 back to 02:00: 02:30 comes twice."""
    with time_at(datetime(2026, 10, 24, 23, 30, tzinfo=UTC), monkeypatch) as passing:
        sleeper(wake_time=time(2, 30), timezone="Europe/Berlin")
        passing.pass_until(datetime(2026, 10, 25, 3, tzinfo=UTC), Beat(), Beat(), ticks=True)
    assert passing.acts == [("wake", "02:30", datetime(2026, 10, 25, 0, 30, tzinfo=UTC))]


def test_a_holiday_is_poked_for_and_not_acted_on(passing: Time) -> None:
    sleeper(off_dates=(date(2026, 3, 2),))
    beat = Beat()
    passing.pass_until(at(9, 30), beat, ticks=True)
    assert len(beat.poked) == 1
    assert passing.acts == []
    assert Schedule.objects.get().next_leg == "sleep"
