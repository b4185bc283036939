"""When the next snapshot of a machine that goes on is due, and what for. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from hibernation.domain.backoff import retry_seconds
from hibernation.domain.idle import IdleState, Policy
from hibernation.domain.states import InstanceStatus, OperationState, SnapshotPurpose

SHORTEST_PAUSE = 60.0
"""Seconds between the starts of two snapshots. A GPU that flaps must not start one with every flap."""
LONGEST_PAUSE = 240.0
"""Fruitless ones in a row double the pause, up to this: what they stored is not lost, the next goes on from there."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """An earlier snapshot operation."""

    started_at: datetime
    state: OperationState


@dataclass(frozen=True, slots=True)
class Wish:
    """What an instance is set to. ``interval``: between periodic snapshots; ``None`` for never."""

    policy: Policy
    precopy: bool = True
    interval: timedelta | None = None


def next_snapshot(
    wish: Wish,
    *,
    status: InstanceStatus,
    idle: IdleState,
    saved_at: datetime | None,
    attempts: Sequence[Attempt],
) -> tuple[datetime, SnapshotPurpose] | None:
    """When, and for what; ``None`` while nothing calls for one.

    ``saved_at``: how fresh the stored copy is: the last proven snapshot, or when the machine came to hold the
    workspace. ``attempts``: the latest first.
    """
    if status not in (InstanceStatus.RUNNING, InstanceStatus.IDLE):
        return None
    due = [found for found in (_precopy(wish, status, idle, attempts), _periodic(wish, saved_at)) if found]
    if not due:
        return None
    at, purpose = min(due)
    allowed = _allowed_from(attempts)
    return (at if allowed is None else max(at, allowed), purpose)


def _precopy(
    wish: Wish, status: InstanceStatus, idle: IdleState, attempts: Sequence[Attempt]
) -> tuple[datetime, SnapshotPurpose] | None:
    """Once in each idle window, from its first reading on; whatever became of it, the hibernation follows."""
    since = idle.idle_since
    if status is not InstanceStatus.IDLE or since is None or not (wish.precopy and wish.policy.enabled):
        return None
    if attempts and attempts[0].started_at >= since:
        return None
    return since, SnapshotPurpose.PRE_COPY


def _periodic(wish: Wish, saved_at: datetime | None) -> tuple[datetime, SnapshotPurpose] | None:
    if wish.interval is None or saved_at is None:
        return None
    return saved_at + wish.interval, SnapshotPurpose.PERIODIC


def _allowed_from(attempts: Sequence[Attempt]) -> datetime | None:
    if not attempts:
        return None
    fruitless = 0
    while fruitless < len(attempts) and attempts[fruitless].state is not OperationState.SUCCEEDED:
        fruitless += 1
    pause = retry_seconds(max(0, fruitless - 1), first=SHORTEST_PAUSE, cap=LONGEST_PAUSE)
    return attempts[0].started_at + timedelta(seconds=pause)
