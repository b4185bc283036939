"""Which snapshots of a workspace are kept, and why: its rules, and what must never be deleted by a rule. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from hibernation.domain.states import SnapshotState

UNPROVEN_STAYS = timedelta(hours=48)
"""How long a snapshot that was never proven stays: a later one may yet go on from it."""

WHOLE = frozenset({SnapshotState.FROZEN, SnapshotState.VERIFIED})
_UNFINISHED = frozenset({SnapshotState.WRITING, SnapshotState.FROZEN})


@dataclass(frozen=True, slots=True)
class Saved:
    """One snapshot. A higher ``id`` is newer; ``made_at`` is when its walk began.

    ``listed``: its packs are known. Before that it can hold on to what it builds on only through its ``parent``.
    ``damaged``: proven once, and some of its stored bytes are wrong now.
    """

    id: int
    state: SnapshotState
    made_at: datetime
    kept: bool = False
    parent: int | None = None
    listed: bool = True
    damaged: bool = False


@dataclass(frozen=True, slots=True)
class Rules:
    """``keep_last`` ≥ 1 newest ones; the last of each of the newest ``keep_daily`` days, as ``zone`` counts days."""

    keep_last: int
    keep_daily: int
    zone: ZoneInfo


@dataclass(frozen=True, slots=True)
class Choice:
    """Every snapshot that is not deleted yet, by id, in one of the two, with the reason."""

    keep: Mapping[int, str]
    delete: Mapping[int, str]


def choose(snapshots: Iterable[Saved], rules: Rules, protected: Mapping[int, str], now: datetime) -> Choice:
    """What to keep and what to delete. ``protected``: ids that stay whatever the rules say, and why.

    A damaged one takes no good one's place, and stays as long as if it were good: most of it may be readable still.
    Deleting what it says and choosing again deletes nothing more, and the order of ``snapshots`` does not matter.
    """
    newest = sorted((s for s in snapshots if s.state is not SnapshotState.DELETED), key=lambda s: -s.id)
    good = [one for one in newest if not one.damaged]
    keep: dict[int, str] = {}
    for reasons in (
        {one.id: protected[one.id] for one in newest if one.id in protected},
        {one.id: "somebody asked to keep it" for one in newest if one.kept},
        _last(good, rules.keep_last),
        _daily(good, rules),
        _base(good),
        _last(newest, rules.keep_last),
        _daily(newest, rules),
        _young(newest, now),
    ):
        keep = reasons | keep
    keep = _parents(newest, keep) | keep
    return Choice(keep, {one.id: _why_not(one, rules) for one in newest if one.id not in keep})


def _last(newest: Sequence[Saved], count: int) -> dict[int, str]:
    proven = (one for one in newest if one.state is SnapshotState.VERIFIED)
    return {one.id: f"one of the newest {count}" for one in islice(proven, count)}


def _daily(newest: Sequence[Saved], rules: Rules) -> dict[int, str]:
    days: dict[date, int] = {}
    for one in newest:
        if one.state is SnapshotState.VERIFIED:
            days.setdefault(one.made_at.astimezone(rules.zone).date(), one.id)
    return {days[day]: f"the last of {day}" for day in sorted(days, reverse=True)[: rules.keep_daily]}


def _base(newest: Sequence[Saved]) -> dict[int, str]:
    """What the machine's state file speaks of: without it the next snapshot would read and send every file."""
    whole = (one for one in newest if one.state in WHOLE)
    return {one.id: "the next snapshot builds on it" for one in islice(whole, 1)}


def _young(newest: Sequence[Saved], now: datetime) -> dict[int, str]:
    hours = UNPROVEN_STAYS.total_seconds() / 3600
    return {
        one.id: f"not proven, and less than {hours:g} hours old"
        for one in newest
        if one.state is not SnapshotState.VERIFIED and now - one.made_at < UNPROVEN_STAYS
    }


def _parents(newest: Sequence[Saved], keep: Mapping[int, str]) -> dict[int, str]:
    """The line of those that are kept and do not know their packs yet, up to the first that does."""
    by_id = {one.id: one for one in newest}
    found: dict[int, str] = {}
    for one in newest:
        if one.id in keep or one.id in found:
            parent = None if one.listed or one.state not in _UNFINISHED else one.parent
            if parent in by_id:
                found[parent] = "a newer one builds on it"
    return found


def _why_not(one: Saved, rules: Rules) -> str:
    if one.state is SnapshotState.VERIFIED:
        return f"older than the newest {rules.keep_last} and than the last of {rules.keep_daily} days"
    return "never proven"
