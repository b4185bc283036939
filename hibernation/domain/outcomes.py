"""What a step decides: a plan before the effect, an outcome after it, and the changes to commit with either."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from hibernation.domain.effects import Effect
from hibernation.domain.facts import Equipment, Memo
from hibernation.domain.offers import Offer, Verdict
from hibernation.domain.states import EventType, InstanceStatus, MachineState


@dataclass(frozen=True, slots=True)
class SetStatus:
    status: InstanceStatus


@dataclass(frozen=True, slots=True)
class Emit:
    event: EventType
    reason: str
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class IntendMachine:
    """Commit the intent to rent, with a label no other attempt has, before the money is spent."""

    offer: Offer


@dataclass(frozen=True, slots=True)
class SetMachine:
    """``ACTIVE`` means «holds the workspace». Usage opens with ``LAUNCHED`` and closes with ``DESTROYED``/``LOST``."""

    state: MachineState
    contract_id: str | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Park:
    """The machine stops instead of ending, and is kept until then; its disk is what the operation's snapshot has."""

    until: datetime


@dataclass(frozen=True, slots=True)
class ForgetMachine:
    """The operation no longer targets its machine; the reconciler ends what still bills."""


@dataclass(frozen=True, slots=True)
class SetAside:
    """The operation's machine is launched and becomes its spare: another is tried beside it."""


@dataclass(frozen=True, slots=True)
class SwapMachines:
    """The spare is in hand now, and the machine that was is the spare. Neither changes its state."""


@dataclass(frozen=True, slots=True)
class TakeSpare:
    """The spare is the operation's only machine again; the one it had was settled before."""


@dataclass(frozen=True, slots=True)
class DismissSpare:
    """The spare is not needed any more: the reconciler ends it and has that confirmed."""

    reason: str


@dataclass(frozen=True, slots=True)
class ForgetSpare:
    """The spare is gone already."""


SpareChange = SetAside | SwapMachines | TakeSpare | DismissSpare | ForgetSpare


@dataclass(frozen=True, slots=True)
class JudgeHost:
    """Remember what happened on the host of ``offer``, for every wake to come."""

    offer: Offer
    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True)
class MeasuredHost:
    """Remember what the host of ``offer`` really downloads, in Mbit/s."""

    offer: Offer
    download_mbps: float


@dataclass(frozen=True, slots=True)
class RecordEquipment:
    """Keep on the machine's row what it told of itself."""

    equipment: Equipment


@dataclass(frozen=True, slots=True)
class BeginSnapshot:
    """A new snapshot row in ``writing`` for this round of the operation."""

    round: int


@dataclass(frozen=True, slots=True)
class SnapshotFrozen:
    """What the box reported: manifest key and hashes, packs, counts."""

    round: int
    result: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SnapshotVerified:
    round: int


@dataclass(frozen=True, slots=True)
class SnapshotFailed:
    """It is bad, and what the box remembers of it may be: the next one reads every file again."""

    reason: str


@dataclass(frozen=True, slots=True)
class SnapshotAbandoned:
    """It was not finished. Nothing speaks against what it has stored: the next one goes on from there."""

    reason: str


@dataclass(frozen=True, slots=True)
class HoldHibernation:
    """Do not hibernate again on idleness for ``seconds``: what just failed would fail again at once."""

    seconds: float


@dataclass(frozen=True, slots=True)
class PassPointOfNoReturn:
    """From here on the machine ends; no cancellation is heard any more."""


Change = (
    SetStatus
    | Emit
    | IntendMachine
    | SetMachine
    | Park
    | ForgetMachine
    | SpareChange
    | JudgeHost
    | MeasuredHost
    | RecordEquipment
    | BeginSnapshot
    | SnapshotFrozen
    | SnapshotVerified
    | SnapshotFailed
    | SnapshotAbandoned
    | HoldHibernation
    | PassPointOfNoReturn
)
Changes = tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Perform:
    """Commit ``changes`` and the lease, then ask the world for ``effect``."""

    effect: Effect
    changes: Changes = ()
    memo: Memo | None = None


@dataclass(frozen=True, slots=True)
class Go:
    """The step is over; continue with ``step``."""

    step: str
    changes: Changes = ()
    memo: Memo | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Look again in ``seconds``. ``failed`` counts towards back-off and is shown as the operation's last error."""

    seconds: float
    why: str
    changes: Changes = ()
    memo: Memo | None = None
    failed: bool = False
    progress: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Finish:
    """The operation is over. ``error_code`` empty means success."""

    changes: Changes = ()
    result: Mapping[str, Any] = field(default_factory=dict)
    error_code: str = ""
    error: str = ""
    cancelled: bool = False


Outcome = Go | Wait | Finish
Plan = Perform | Outcome
