"""What one heartbeat means: whether it counts, what it says about activity, and which event it makes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from hibernation.domain import idle
from hibernation.domain.facts import OperationFacts
from hibernation.domain.idle import Activity, IdleState, Judgement, Policy
from hibernation.domain.states import (
    LIVE_MACHINE_STATES,
    EventType,
    InstanceStatus,
    MachineState,
    OperationKind,
)


@dataclass(frozen=True, slots=True)
class Beat:
    """The part of a heartbeat that decisions rest on. ``utilizations``: per GPU, per cent, the interval's maximum."""

    seq: int
    utilizations: Sequence[float | None]
    spooled: bool = False


@dataclass(frozen=True, slots=True)
class BeatResult:
    """``stop_operation``: what runs is for an idle machine only, and must stop."""

    idle: IdleState
    judgement: Judgement
    status: InstanceStatus
    event: EventType | None = None
    stop_operation: bool = False


def refuse(beat: Beat, *, last_seq: int, machine_state: MachineState) -> str | None:
    """Why this heartbeat changes nothing, as a stable code; ``None`` if it counts.

    A sequence number is used once per rental. A spooled reading is history only, and may be older than the last.
    A machine being ended says nothing any more: the instance may live on another one by now.
    """
    if machine_state not in LIVE_MACHINE_STATES:
        return "machine_gone"
    if not beat.spooled and beat.seq <= last_seq:
        return "stale_sequence"
    return None


def receive(
    beat: Beat,
    *,
    status: InstanceStatus,
    policy: Policy,
    state: IdleState,
    operation: OperationFacts | None,
    now: datetime,
) -> BeatResult:
    """The instance after a heartbeat that counts. ``operation`` is the one running on it, if any.

    Running and idle follow the activity, also while a snapshot is made; else the status is the operation's own. A busy
    heartbeat asks a hibernation that nobody forced, or a pre-copy, to stop. A spooled reading is judged for the
    history and changes nothing.
    """
    judgement = idle.judge(beat.utilizations, policy)
    if beat.spooled:
        return BeatResult(state, judgement, status)
    after = idle.advance(state, judgement.activity, now)
    stop = judgement.activity is Activity.BUSY and _can_be_stopped(operation)
    if status is InstanceStatus.RUNNING and judgement.activity is Activity.IDLE:
        return BeatResult(after, judgement, InstanceStatus.IDLE, EventType.IDLE_DETECTED)
    if status is InstanceStatus.IDLE and judgement.activity is not Activity.IDLE:
        return BeatResult(after, judgement, InstanceStatus.RUNNING, EventType.ACTIVITY_RESUMED, stop)
    if stop and status is InstanceStatus.HIBERNATING:
        return BeatResult(after, judgement, status, EventType.ACTIVITY_RESUMED, stop)
    return BeatResult(after, judgement, status, stop_operation=stop)


def _can_be_stopped(operation: OperationFacts | None) -> bool:
    return (
        operation is not None
        and operation.kind in (OperationKind.HIBERNATE, OperationKind.SNAPSHOT)
        and not operation.forced
        and not operation.cancel_reason
        and operation.point_of_no_return_at is None
    )
