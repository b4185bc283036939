"""Which snapshots are kept: each rule by example, and what holds for all of them by property."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hibernation.domain.retention import UNPROVEN_STAYS, WHOLE, Rules, Saved, choose
from hibernation.domain.states import SnapshotState

NOW = datetime(2026, 3, 20, 12, tzinfo=UTC)
VERIFIED, FROZEN, WRITING, FAILED = (
    SnapshotState.VERIFIED,
    SnapshotState.FROZEN,
    SnapshotState.WRITING,
    SnapshotState.FAILED,
)


def rules(last: int = 1, daily: int = 0, zone: str = "UTC") -> Rules:
    return Rules(last, daily, ZoneInfo(zone))


def saved(id: int, days_ago: float, state: SnapshotState = VERIFIED, **more: Any) -> Saved:
    return Saved(id, state, NOW - timedelta(days=days_ago), **more)


def deleted(snapshots: list[Saved], with_rules: Rules, protected: dict[int, str] | None = None) -> set[int]:
    return set(choose(snapshots, with_rules, protected or {}, NOW).delete)


def test_the_newest_ones_are_kept() -> None:
    assert deleted([saved(n, 10 - n) for n in range(1, 6)], rules(last=2)) == {1, 2, 3}


def test_of_each_of_the_newest_days_the_last_is_kept() -> None:
    some = [saved(1, 5.1), saved(2, 5), saved(3, 3.2), saved(4, 3), saved(5, 0.1)]
    assert deleted(some, rules(daily=2)) == {1, 2, 3}
    assert deleted(some, rules(daily=3)) == {1, 3}


def test_days_are_those_of_the_zone() -> None:
    late, early = datetime(2026, 3, 10, 22, 30, tzinfo=UTC), datetime(2026, 3, 10, 23, 30, tzinfo=UTC)
    some = [Saved(1, VERIFIED, late), Saved(2, VERIFIED, early), saved(3, 0)]
    assert deleted(some, rules(daily=3)) == {1}
    assert deleted(some, rules(daily=3, zone="Europe/Berlin")) == set()


def test_a_damaged_one_takes_no_good_ones_place_and_stays_as_long_as_one() -> None:
    some = [saved(1, 4), saved(2, 3), saved(3, 2, damaged=True), saved(4, 1, damaged=True)]
    assert deleted(some, rules(last=1)) == {1, 3}
    assert deleted(some, rules(last=2)) == set()
    assert deleted([*some, saved(5, 0)], rules(last=1)) == {1, 2, 3, 4}


def test_what_is_protected_or_asked_for_stays_with_its_reason() -> None:
    some = [saved(1, 9), saved(2, 8, kept=True), saved(3, 7), saved(4, 0)]
    choice = choose(some, rules(), {1: "the last good copy"}, NOW)
    assert choice.keep == {
        1: "the last good copy",
        2: "somebody asked to keep it",
        4: "one of the newest 1",
    }
    assert choice.delete == {3: "older than the newest 1 and than the last of 0 days"}


@pytest.mark.parametrize("state", [WRITING, FROZEN, FAILED])
def test_what_was_never_proven_stays_for_two_days(state: SnapshotState) -> None:
    some = [saved(1, 1.9, state), saved(2, 2.1, state), saved(3, 0)]
    assert deleted(some, rules()) == {2}


def test_the_newest_whole_one_stays_however_old_it_is() -> None:
    some = [saved(1, 30), saved(2, 20, FROZEN), saved(3, 10, FAILED)]
    assert deleted(some, rules()) == {3}


def test_what_a_snapshot_with_unlisted_packs_builds_on_stays_as_long_as_it_does() -> None:
    some = [
        saved(1, 9),
        saved(2, 8, FROZEN),
        saved(3, 7, FROZEN, parent=2, listed=False),
        saved(4, 6, FROZEN, parent=3, listed=False),
        saved(5, 5),
    ]
    assert deleted(some, rules()) == {1, 2, 3, 4}
    assert deleted(some, rules(), {4: "in use"}) == {1}
    assert choose(some, rules(), {4: "in use"}, NOW).keep[2] == "a newer one builds on it"


def test_a_deleted_one_is_not_spoken_of() -> None:
    choice = choose([saved(1, 9, SnapshotState.DELETED), saved(2, 0)], rules(), {1: "current"}, NOW)
    assert (set(choice.keep), set(choice.delete)) == ({2}, set())


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Saved], Rules, dict[int, str]]:
    """Any snapshots with any clock: newer ones may well look older."""
    ids = range(1, draw(st.integers(0, 12)) + 1)
    states = st.sampled_from([VERIFIED, VERIFIED, FROZEN, WRITING, FAILED, SnapshotState.DELETED])
    some = [
        Saved(
            id=id,
            state=draw(states),
            made_at=NOW - timedelta(hours=draw(st.integers(-50, 500))),
            kept=draw(st.booleans()) and draw(st.booleans()),
            parent=draw(st.none() | st.integers(1, id - 1)) if id > 1 else None,
            listed=draw(st.booleans()),
            damaged=draw(st.booleans()),
        )
        for id in ids
    ]
    chosen = Rules(draw(st.integers(1, 4)), draw(st.integers(0, 4)), ZoneInfo("Asia/Kolkata"))
    return some, chosen, dict.fromkeys(draw(st.sets(st.sampled_from(ids), max_size=2)) if ids else (), "x")


@given(histories())
def test_no_rule_deletes_the_last_good_copy(history: tuple[list[Saved], Rules, dict[int, str]]) -> None:
    some, chosen, protected = history
    gone = set(choose(some, chosen, protected, NOW).delete)
    good = [one for one in some if not one.damaged]
    for among in (good, some):
        assert max((one.id for one in among if one.state is VERIFIED), default=None) not in gone
    assert max((one.id for one in good if one.state in WHOLE), default=None) not in gone
    assert not gone & set(protected)
    assert not gone & {one.id for one in some if one.kept}


@given(histories())
def test_every_snapshot_is_kept_or_deleted_and_a_second_time_nothing_is(
    history: tuple[list[Saved], Rules, dict[int, str]],
) -> None:
    some, chosen, protected = history
    choice = choose(some, chosen, protected, NOW)
    alive = {one.id for one in some if one.state is not SnapshotState.DELETED}
    assert set(choice.keep) | set(choice.delete) == alive
    assert not set(choice.keep) & set(choice.delete)
    left = [one for one in some if one.id in choice.keep]
    assert choose(left, chosen, protected, NOW) == type(choice)(choice.keep, {})


@given(histories())
def test_damage_makes_the_rules_delete_nothing_more(
    history: tuple[list[Saved], Rules, dict[int, str]],
) -> None:
    some, chosen, protected = history
    proven = [replace(one, damaged=one.damaged and one.state is VERIFIED) for one in some]
    sound = [replace(one, damaged=False) for one in some]
    gone = choose(proven, chosen, protected, NOW).delete
    assert gone.keys() <= choose(sound, chosen, protected, NOW).delete.keys()


@given(histories(), st.randoms())
def test_the_order_of_the_rows_does_not_matter(
    history: tuple[list[Saved], Rules, dict[int, str]], dice: random.Random
) -> None:
    some, chosen, protected = history
    mixed = dice.sample(some, len(some))
    assert choose(mixed, chosen, protected, NOW) == choose(some, chosen, protected, NOW)


@given(histories())
def test_what_is_kept_can_be_built_on(history: tuple[list[Saved], Rules, dict[int, str]]) -> None:
    """A kept one whose packs are not listed never loses the one that holds them."""
    some, chosen, protected = history
    choice = choose(some, chosen, protected, NOW)
    for one in some:
        if one.id in choice.keep and not one.listed and one.state in (FROZEN, WRITING):
            assert one.parent not in choice.delete


def test_unproven_ones_outlive_the_day_that_a_machine_may_go_on_from_them() -> None:
    assert timedelta(hours=24) < UNPROVEN_STAYS
