"""The states of instances, machines, operations and snapshots, and the only arrows between them."""

from __future__ import annotations

from enum import StrEnum


class InstanceStatus(StrEnum):
    """One workspace.

    provisioning → running ⇄ idle → hibernating → hibernated → deleted; hibernated | deleted | failed → waking →
    running. ``deleted`` releases the slot and keeps the snapshot. ``failed`` needs a person or a retry.
    running | idle → hibernated: the machine vanished, the workspace is kept as of its last proven copy.
    hibernated | deleted | failed → running: the machine had vanished with unsaved work, and came back.
    any state at rest → released: nobody looks after it any more, its snapshots are kept; adopted again or woken from
    one, it comes back.
    """

    PROVISIONING = "provisioning"
    RUNNING = "running"
    IDLE = "idle"
    HIBERNATING = "hibernating"
    HIBERNATED = "hibernated"
    DELETED = "deleted"
    WAKING = "waking"
    FAILED = "failed"
    RELEASED = "released"


I = InstanceStatus  # noqa: E741 - the table below is read as a drawing

INSTANCE_ARROWS: dict[InstanceStatus, frozenset[InstanceStatus]] = {
    I.PROVISIONING: frozenset({I.RUNNING, I.FAILED, I.RELEASED}),
    I.RUNNING: frozenset({I.IDLE, I.HIBERNATING, I.HIBERNATED, I.FAILED, I.RELEASED}),
    I.IDLE: frozenset({I.RUNNING, I.HIBERNATING, I.HIBERNATED, I.FAILED, I.RELEASED}),
    I.HIBERNATING: frozenset({I.RUNNING, I.HIBERNATED, I.FAILED}),
    I.HIBERNATED: frozenset({I.DELETED, I.WAKING, I.RUNNING, I.RELEASED}),
    I.DELETED: frozenset({I.WAKING, I.RUNNING, I.RELEASED}),
    I.WAKING: frozenset({I.RUNNING, I.HIBERNATED, I.DELETED, I.FAILED}),
    I.FAILED: frozenset({I.WAKING, I.PROVISIONING, I.RUNNING, I.RELEASED}),
    I.RELEASED: frozenset({I.PROVISIONING, I.WAKING}),
}


class MachineState(StrEnum):
    """One rental.

    intended → launched → active → destroying → destroyed. ``void``: the provider refused, nothing was rented.
    ``abandoned``: the launch was answered unclearly and no machine showed up; if one ever does, it is destroyed.
    ``lost``: a complete list no longer has it. ``orphan``: our label on a machine that no row explains.
    lost → active: it came back with work that nobody saved. void | abandoned | lost | destroyed → destroying: it is
    listed against all expectation, and nobody needs it.
    launched ⇄ spare → destroying | lost: launched for a wake, and another is tried beside it.
    active → parked: its workspace is saved and proven, and it was told to stop; its disk bills. parked → launched: a
    wake starts it again, and parks it again if that fails and only its disk has the workspace right. parked → active:
    somebody else started it. parked → destroyed | lost: no list has it any more; lost if it ran then.
    adopting → active: rented by somebody else, taken into our care. adopting | active | lost | parked → released: not
    ours (any more); whatever the lists say, it is left alone for ever. Adopted again, it is a new row.
    """

    INTENDED = "intended"
    LAUNCHED = "launched"
    SPARE = "spare"
    ACTIVE = "active"
    DESTROYING = "destroying"
    DESTROYED = "destroyed"
    VOID = "void"
    ABANDONED = "abandoned"
    LOST = "lost"
    ORPHAN = "orphan"
    PARKED = "parked"
    ADOPTING = "adopting"
    RELEASED = "released"


class Phase(StrEnum):
    """Where a machine stands, by its provider's word. ``offline``: the provider cannot reach it, which proves nothing.

    ``failed``: the host said that it will not come up.
    """

    LOADING = "loading"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"
    OFFLINE = "offline"


class CreditLevel(StrEnum):
    """How long a provider's credit lasts: ``low`` is told; ``floor``: what is awake is saved and nothing is rented;
    ``end``: machines are given back even while they work. ``unknown``: the provider has or tells no credit."""

    UNKNOWN = "unknown"
    FINE = "fine"
    LOW = "low"
    FLOOR = "floor"
    END = "end"


M = MachineState

MACHINE_ARROWS: dict[MachineState, frozenset[MachineState]] = {
    M.INTENDED: frozenset({M.LAUNCHED, M.VOID, M.ABANDONED}),
    M.LAUNCHED: frozenset({M.ACTIVE, M.SPARE, M.DESTROYING, M.LOST, M.PARKED}),
    M.SPARE: frozenset({M.LAUNCHED, M.DESTROYING, M.LOST}),
    M.ACTIVE: frozenset({M.DESTROYING, M.LOST, M.RELEASED, M.PARKED}),
    M.PARKED: frozenset({M.LAUNCHED, M.ACTIVE, M.DESTROYING, M.DESTROYED, M.LOST, M.RELEASED}),
    M.DESTROYING: frozenset({M.DESTROYED}),
    M.DESTROYED: frozenset({M.DESTROYING}),
    M.VOID: frozenset({M.DESTROYING}),
    M.ABANDONED: frozenset({M.DESTROYING}),
    M.LOST: frozenset({M.DESTROYING, M.ACTIVE, M.RELEASED}),
    M.ORPHAN: frozenset({M.DESTROYING, M.DESTROYED}),
    M.ADOPTING: frozenset({M.ACTIVE, M.RELEASED}),
    M.RELEASED: frozenset(),
}

LIVE_MACHINE_STATES = frozenset({M.INTENDED, M.LAUNCHED, M.ACTIVE, M.ADOPTING})
BILLING_MACHINE_STATES = frozenset({M.LAUNCHED, M.SPARE, M.ACTIVE, M.DESTROYING, M.ORPHAN, M.PARKED})
"""In which a rental is to be paid; of one that is parked its disk alone."""


class OperationKind(StrEnum):
    """``snapshot`` saves a machine that goes on working, or begins what a hibernation will finish. ``adopt`` takes a
    machine into our care that somebody else rented."""

    HIBERNATE = "hibernate"
    WAKE = "wake"
    SNAPSHOT = "snapshot"
    ADOPT = "adopt"


class SnapshotPurpose(StrEnum):
    """Why a snapshot is made while the machine goes on.

    ``pre-copy``: a hibernation is in sight; gives way to any work. ``periodic``: against the loss of the machine, also
    while it works. ``ordered``: a person wants it now.
    """

    PRE_COPY = "pre-copy"
    PERIODIC = "periodic"
    ORDERED = "ordered"


class OperationState(StrEnum):
    """One run of an operation.

    queued → running → succeeded | failed | cancelled; queued → cancelled. At most one is running and one is
    queued per instance.
    """

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL_OPERATION_STATES = frozenset(
    {OperationState.SUCCEEDED, OperationState.FAILED, OperationState.CANCELLED}
)


class SnapshotState(StrEnum):
    """writing → frozen → verified; any of them → failed; a later round of the same hibernation is another snapshot.

    All may become ``deleted`` unless an operation needs them: the row tells that it was; its packs may be gone.
    """

    WRITING = "writing"
    FROZEN = "frozen"
    VERIFIED = "verified"
    FAILED = "failed"
    DELETED = "deleted"


class RunState(StrEnum):
    """One occurrence of a schedule, acted on at most once.

    waiting ⇄ started; waiting | started → done | skipped | gave_up. ``waiting``: for work to end, or for a machine.
    ``started``: its operation is queued or running. ``missed``: found too late. ``skipped``: the rules said no, or
    somebody took over.
    """

    WAITING = "waiting"
    STARTED = "started"
    DONE = "done"
    SKIPPED = "skipped"
    MISSED = "missed"
    GAVE_UP = "gave_up"


OPEN_RUN_STATES = frozenset({RunState.WAITING, RunState.STARTED})


class EventType(StrEnum):
    """Things that happened, in the past tense. The guide's four are idle_detected, hibernated, woke, deleted."""

    REGISTERED = "registered"
    ADOPTION_STARTED = "adoption_started"
    ADOPTED = "adopted"
    RELEASED = "released"
    IDLE_DETECTED = "idle_detected"
    ACTIVITY_RESUMED = "activity_resumed"
    HIBERNATE_STARTED = "hibernate_started"
    HIBERNATE_VETOED = "hibernate_vetoed"
    SNAPSHOT_STARTED = "snapshot_started"
    SNAPSHOT_CREATED = "snapshot_created"
    SNAPSHOT_VERIFIED = "snapshot_verified"
    SNAPSHOT_ABANDONED = "snapshot_abandoned"
    SNAPSHOT_DELETED = "snapshot_deleted"
    HIBERNATED = "hibernated"
    DELETED = "deleted"
    WAKE_STARTED = "wake_started"
    OFFER_SELECTED = "offer_selected"
    MACHINE_LAUNCHED = "machine_launched"
    MACHINE_REACHED = "machine_reached"
    MACHINE_TESTED = "machine_tested"
    MACHINE_REJECTED = "machine_rejected"
    HEDGE_STARTED = "hedge_started"
    SPARE_DISMISSED = "spare_dismissed"
    MACHINE_DESTROYED = "machine_destroyed"
    MACHINE_LOST = "machine_lost"
    MACHINE_RETURNED = "machine_returned"
    MACHINE_RESUMED = "machine_resumed"
    PARKING_ENDED = "parking_ended"
    RESTORED = "restored"
    WOKE = "woke"
    HOOK_RAN = "hook_ran"
    HOOK_FAILED = "hook_failed"
    OPERATION_QUEUED = "operation_queued"
    OPERATION_CANCELLED = "operation_cancelled"
    CONFIG_CHANGED = "config_changed"
    KEEP_ALIVE = "keep_alive"
    SCHEDULE_CHANGED = "schedule_changed"
    SCHEDULE_FIRED = "schedule_fired"
    SCHEDULE_MISSED = "schedule_missed"
    SCHEDULE_SKIPPED = "schedule_skipped"
    SCHEDULE_WAITED = "schedule_waited"
    SCHEDULE_GAVE_UP = "schedule_gave_up"
    ORPHAN_FOUND = "orphan_found"
    STILL_BILLING = "still_billing"
    MACHINE_STOPPED = "machine_stopped"
    MACHINE_OFFLINE = "machine_offline"
    MACHINE_STARTED = "machine_started"
    MACHINE_FORGOTTEN = "machine_forgotten"
    RENTAL_ENDS = "rental_ends"
    PRICE_ROSE = "price_rose"
    CREDIT_LOW = "credit_low"
    CREDIT_RESTORED = "credit_restored"
    GUARD_STOPPED = "guard_stopped"
    GUARD_UNABLE = "guard_unable"
    FAILED = "failed"


def may_become(old: InstanceStatus, new: InstanceStatus) -> bool:
    """Whether the table has an arrow from ``old`` to ``new``. Staying put is not an arrow."""
    return new in INSTANCE_ARROWS[old]


def machine_may_become(old: MachineState, new: MachineState) -> bool:
    return new in MACHINE_ARROWS[old]
