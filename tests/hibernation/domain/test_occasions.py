"""When a machine that goes on is saved: at the first idle reading, every so often, and never in a flurry."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from hibernation.domain.idle import IdleState, Policy
from hibernation.domain.occasions import Attempt, Wish, next_snapshot
from hibernation.domain.states import InstanceStatus, OperationState, SnapshotPurpose
from tests.hibernation.domain.factories import NOON, ago

SINCE = ago(seconds=5)
SUCCEEDED, CANCELLED, FAILED = OperationState.SUCCEEDED, OperationState.CANCELLED, OperationState.FAILED
HOURLY = timedelta(hours=1)


def due(
    *attempts: Attempt,
    status: InstanceStatus = InstanceStatus.IDLE,
    policy: Policy | None = None,
    precopy: bool = True,
    interval: timedelta | None = None,
    saved_at: datetime | None = None,
) -> tuple[datetime, SnapshotPurpose] | None:
    idle = IdleState(SINCE if status is InstanceStatus.IDLE else None, NOON)
    wish = Wish(policy or Policy(), precopy, interval)
    return next_snapshot(wish, status=status, idle=idle, saved_at=saved_at, attempts=attempts)


def test_a_precopy_is_due_with_the_first_idle_reading() -> None:
    assert due() == (SINCE, SnapshotPurpose.PRE_COPY)


def test_once_in_an_idle_window() -> None:
    assert due(Attempt(SINCE, SUCCEEDED)) is None
    assert due(Attempt(NOON, CANCELLED)) is None


def test_none_where_it_is_not_wanted() -> None:
    assert due(precopy=False) is None
    assert due(policy=Policy(enabled=False)) is None
    assert due(status=InstanceStatus.RUNNING) is None


@pytest.mark.parametrize(
    "status", sorted(set(InstanceStatus) - {InstanceStatus.RUNNING, InstanceStatus.IDLE})
)
def test_what_is_not_awake_is_not_saved(status: InstanceStatus) -> None:
    assert due(status=status, interval=HOURLY, saved_at=ago(hours=9)) is None


@pytest.mark.parametrize(
    ("earlier", "pause"),
    [
        ([SUCCEEDED, CANCELLED, CANCELLED], 60),
        ([CANCELLED, SUCCEEDED], 60),
        ([CANCELLED, CANCELLED], 120),
        ([FAILED, CANCELLED, CANCELLED], 240),
        ([CANCELLED] * 4, 240),
    ],
)
def test_a_flapping_gpu_starts_ever_fewer(earlier: list[OperationState], pause: float) -> None:
    started = ago(seconds=30)
    attempts = [Attempt(started - timedelta(minutes=n), state) for n, state in enumerate(earlier)]
    assert due(*attempts) == (started + timedelta(seconds=pause), SnapshotPurpose.PRE_COPY)


def test_the_interval_counts_from_the_last_proven_copy_also_while_the_gpu_works() -> None:
    found = due(status=InstanceStatus.RUNNING, interval=HOURLY, saved_at=ago(minutes=20))
    assert found == (NOON + timedelta(minutes=40), SnapshotPurpose.PERIODIC)


def test_what_is_due_first_comes_first() -> None:
    late = due(interval=HOURLY, saved_at=ago(hours=2))
    assert late == (ago(hours=1), SnapshotPurpose.PERIODIC)
    assert due(interval=HOURLY, saved_at=NOON) == (SINCE, SnapshotPurpose.PRE_COPY)
