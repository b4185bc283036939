"""What a step knows when it decides: values read under the row lock, with ``now`` from the database clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from hibernation.domain.idle import IdleState, Policy
from hibernation.domain.offers import Offer, OfferFilter
from hibernation.domain.states import (
    InstanceStatus,
    MachineState,
    OperationKind,
    SnapshotPurpose,
    SnapshotState,
)


@dataclass(frozen=True, slots=True)
class Limits:
    """Deadlines and bounds of the steps. Durations are wall time on the database clock.

    Of a machine on its way up: ``created`` until a list has it, ``loading`` for its image, more for one that takes
    longer to download, ``loading_most`` at most; ``running`` for a phase that is neither loading nor up;
    ``standstill`` until a stop is believed; ``silence`` without any answer over SSH, ``reach`` until it accepts us.
    ``launch_queue``: how long a launch may be put off. ``doubt``: how long past its deadline a wake still looks for
    what it may have rented. ``slow_machines``: so many are sent away, then slow will do. ``hedge_after``: one that
    does not answer by then gets another beside it, which may cost ``hedge_most_usd`` until it answers; 0: never.
    ``park``: until a machine that is to be kept warm stands still; ``resume``: until it runs again.
    """

    quiesce: timedelta = timedelta(minutes=3)
    freeze_unreachable: timedelta = timedelta(minutes=10)
    verify_unavailable: timedelta = timedelta(minutes=30)
    fence: timedelta = timedelta(minutes=5)
    fence_holds: timedelta = timedelta(seconds=60)
    fence_rounds: int = 4
    freeze_restarts: int = 3
    redestroy_after: timedelta = timedelta(seconds=5)
    release: timedelta = timedelta(seconds=30)
    release_paused: timedelta = timedelta(minutes=30)
    choose: timedelta = timedelta(minutes=10)
    last_resort: timedelta = timedelta(seconds=30)
    label_settle: timedelta = timedelta(seconds=30)
    launch_queue: timedelta = timedelta(minutes=30)
    doubt: timedelta = timedelta(minutes=15)
    created: timedelta = timedelta(minutes=2)
    loading: timedelta = timedelta(minutes=10)
    loading_most: timedelta = timedelta(minutes=40)
    running: timedelta = timedelta(minutes=5)
    standstill: timedelta = timedelta(seconds=15)
    silence: timedelta = timedelta(seconds=60)
    reach: timedelta = timedelta(minutes=4)
    test: timedelta = timedelta(minutes=3)
    slow_machines: int = 2
    hedge_after: timedelta = timedelta(seconds=90)
    hedge_most_usd: Decimal = Decimal(0)
    install: timedelta = timedelta(minutes=5)
    thaw_unreachable: timedelta = timedelta(minutes=10)
    first_beat: timedelta = timedelta(minutes=3)
    hook: timedelta = timedelta(minutes=5)
    attach: timedelta = timedelta(minutes=5)
    label: timedelta = timedelta(minutes=10)
    launch_attempts: int = 5
    park: timedelta = timedelta(minutes=3)
    resume: timedelta = timedelta(minutes=3)
    lease: timedelta = timedelta(seconds=300)


@dataclass(frozen=True, slots=True)
class Arrival:
    """What a wake knows of one machine on its way up. Where there are two, it travels with its machine.

    The fields are those of ``Memo``, which holds them of the machine in hand.
    """

    offer: Offer | None = None
    image_gb: float = 0.0
    stage: str = ""
    stage_at: float = 0.0
    came_at: float = 0.0
    due_at: float = 0.0
    phase: str = ""
    phase_at: float = 0.0
    key_attached: bool = False
    start_wanted: bool = False
    started: bool = False
    silent_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Memo:
    """What an operation carries from step to step. Stored as JSON on its row.

    ``restart``: the job on the box ended badly and is to go on. ``paused``: a fence may have paused writers.
    ``looking``: the launch is in doubt and its label is looked for. ``answered_at``: when a long step was last seen
    going on, in seconds since 1970. ``deferred``: the launch was put off, nothing was rented, and the same label may be
    sent again. ``phase``: by the provider's word, since ``phase_at``. ``start_wanted``: its start got lost;
    ``started``: it was sent once more. ``silent_at``: since when nothing answers over SSH. ``slow``: machines sent
    away for it. ``came_at``: since when the machine in hand comes up; ``stage_at``: since when it is in its ``stage``,
    which is ``loading`` or ``reach``, where that is longer than the step; ``due_at``: when it is looked at next.
    ``hedged``: another machine was tried beside one in this wake. ``spare``: the one of the two that is not in hand.
    ``resumed``: the machine was kept warm and is started again; ``unsaved``: it ran already, so it may hold work that
    no copy has.
    """

    round: int = 0
    fenced_round: int | None = None
    redestroy: bool = False
    job_failures: int = 0
    restart: bool = False
    offer: Offer | None = None
    avoid_hosts: tuple[str, ...] = ()
    attempt: int = 0
    abort_code: str = ""
    abort_reason: str = ""
    reinstalled: bool = False
    paused: bool = False
    looking: bool = False
    answered_at: float = 0.0
    deferred: bool = False
    image_gb: float = 0.0
    phase: str = ""
    phase_at: float = 0.0
    key_attached: bool = False
    start_wanted: bool = False
    started: bool = False
    silent_at: float = 0.0
    tested: bool = False
    slow: int = 0
    stage: str = ""
    stage_at: float = 0.0
    came_at: float = 0.0
    due_at: float = 0.0
    hedged: bool = False
    spare: Arrival | None = None
    resumed: bool = False
    unsaved: bool = False


@dataclass(frozen=True, slots=True)
class OperationFacts:
    """``entered_at``: when the current step was entered. ``waits``: polls since then. ``failures``: errors since.

    ``forced``: does not ask whether the GPU is idle. ``scheduled``: asks for it, but not whether idleness alone may end
    the machine. ``purpose`` counts for snapshots only.
    """

    id: int
    kind: OperationKind
    step: str
    started_at: datetime
    entered_at: datetime
    deadline_at: datetime
    waits: int = 0
    failures: int = 0
    forced: bool = False
    scheduled: bool = False
    cancel_reason: str = ""
    point_of_no_return_at: datetime | None = None
    want: OfferFilter = OfferFilter()
    status_before: InstanceStatus = InstanceStatus.RUNNING
    memo: Memo = Memo()
    purpose: SnapshotPurpose = SnapshotPurpose.ORDERED


@dataclass(frozen=True, slots=True)
class Equipment:
    """What a machine told of itself when it was tested; empty means not told."""

    gpus: tuple[str, ...] = ()
    driver: str = ""
    cuda: str = ""


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """``stopped_since``: several lists in a row said that it stands still, the first of them then.

    ``price``: of an hour that it runs, as last listed; ``disk_price``: of one that it stands still; ``None``: not
    told. ``is_saved``: false where its disk alone has the workspace right, for the copy it was parked on is not good
    any more.
    """

    id: int
    label: str
    state: MachineState
    intended_at: datetime
    contract_id: str | None = None
    host: str = ""
    first_beat_at: datetime | None = None
    stopped_since: datetime | None = None
    gpu_type: str = ""
    gpu_count: int = 1
    region: str = ""
    country: str = ""
    price: Decimal = Decimal(0)
    disk_price: Decimal | None = None
    parked_until: datetime | None = None
    is_saved: bool = True


@dataclass(frozen=True, slots=True)
class SnapshotFacts:
    """``unreadable``: files that the machine could not read; a copy that lacks some is not whole.

    ``damaged``: stored bytes of it were found wrong after it was proven.
    """

    name: str
    state: SnapshotState
    round: int = 0
    frozen_at: datetime | None = None
    unreadable: int = 0
    damaged: bool = False

    @property
    def is_good(self) -> bool:
        """A rental may end on it: proven, whole, and right as far as anybody knows."""
        return self.state is SnapshotState.VERIFIED and not self.unreadable and not self.damaged


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything one decision may use.

    ``snapshot`` is the one being written or restored by this operation, ``kept`` what a wake would
    restore, if it is proven and not damaged. ``offer_held``: another wake is renting the chosen offer. ``before``: what
    the workspace's last machine was. ``has_hook``: something is to be run after the wake. ``spare``: the machine beside
    the one in hand, while a wake tries two. ``warm``: how long the machine is kept after it was saved, stopped; zero:
    it is ended.
    """

    now: datetime
    operation: OperationFacts
    status: InstanceStatus
    policy: Policy
    idle: IdleState
    machine: MachineFacts | None = None
    snapshot: SnapshotFacts | None = None
    kept: SnapshotFacts | None = None
    offer_held: bool = False
    before: Equipment | None = None
    has_hook: bool = False
    spare: MachineFacts | None = None
    warm: timedelta = timedelta(0)
    limits: Limits = field(default_factory=Limits)
