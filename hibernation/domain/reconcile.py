"""Our machine rows against one complete list of the provider: what follows. Pure.

The list is taken first and the rows are read after it, so a row can only be newer than the list, never older.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from hibernation.domain.states import InstanceStatus, MachineState

MISSING_GRACE = timedelta(seconds=60)
"""A machine is lost only when complete lists have lacked it for this long, and its agent was silent all along."""
IMPLAUSIBLE_GRACE = timedelta(minutes=10)
"""… or this long when half the fleet, and at least three machines, went missing together."""
ORPHAN_GRACE = timedelta(minutes=5)
MAX_ORPHANS_DESTROYED_PER_LIST = 5


@dataclass(frozen=True, slots=True)
class Listing:
    """One complete list. ``labels``: contract id → label."""

    taken_at: datetime
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class MachineRow:
    """``owned``: a running operation is itself ending or parking this machine, or has it as its spare. ``since``: when
    it got its present state.

    ``destroy_due_at``: when to ask again; ``None`` until it was asked for the first time. ``holds_work``: it was
    lost while it held a workspace, and no wake has succeeded elsewhere since; only it may have the latest work.
    ``last_beat_at``: when its agent was last heard.
    """

    id: int
    label: str
    state: MachineState
    since: datetime
    contract_id: str | None = None
    missing_since: datetime | None = None
    destroy_due_at: datetime | None = None
    owned: bool = False
    holds_work: bool = False
    last_beat_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ConfirmDestroyed:
    machine_id: int


@dataclass(frozen=True, slots=True)
class DestroyAgain:
    machine_id: int
    contract_id: str


@dataclass(frozen=True, slots=True)
class NoteMissing:
    machine_id: int


@dataclass(frozen=True, slots=True)
class NotePresent:
    machine_id: int


@dataclass(frozen=True, slots=True)
class DeclareLost:
    machine_id: int


@dataclass(frozen=True, slots=True)
class SendAway:
    """A machine nobody waits for any more turned up (or came back): end it."""

    machine_id: int
    contract_id: str


@dataclass(frozen=True, slots=True)
class Recover:
    """A lost machine came back with work that nobody saved: let its paused writers go on, then it is active again
    and its instance runs. Not while an operation runs on the instance; the next list says it again."""

    machine_id: int
    contract_id: str


@dataclass(frozen=True, slots=True)
class ReportOrphan:
    """Our label, but no row: remember it; it is destroyed after ``ORPHAN_GRACE``."""

    contract_id: str
    label: str


Action = (
    ConfirmDestroyed
    | DestroyAgain
    | NoteMissing
    | NotePresent
    | DeclareLost
    | SendAway
    | Recover
    | ReportOrphan
)

_LIVE_WITH_CONTRACT = frozenset({MachineState.LAUNCHED, MachineState.SPARE, MachineState.ACTIVE})
_KEPT_WITH_CONTRACT = _LIVE_WITH_CONTRACT | {MachineState.PARKED}
_UNEXPECTED = frozenset(
    {MachineState.ABANDONED, MachineState.VOID, MachineState.LOST, MachineState.DESTROYED}
)


def plan_reconcile(
    listing: Listing, rows: Sequence[MachineRow], *, our_prefix: str, now: datetime
) -> tuple[Action, ...]:
    """The repairs this list calls for. Machines without our label prefix are strangers and never named.

    ``rows`` holds at least every row that is not terminal and every row whose contract or label is listed.
    """
    grace = IMPLAUSIBLE_GRACE if _implausible(listing, rows) else MISSING_GRACE
    orphans = 0
    actions: list[Action] = []
    for row in rows:
        if row.state is MachineState.ORPHAN:
            orphans += 1
            if orphans > MAX_ORPHANS_DESTROYED_PER_LIST:
                continue
        actions.extend(_for_row(listing, row, our_prefix, grace, now))
    actions.extend(_orphans(listing, rows, our_prefix))
    return tuple(actions)


def status_after_loss(status: InstanceStatus, *, has_proven_copy: bool) -> InstanceStatus:
    """What becomes of an instance whose machine was declared lost. An operation on it decides for itself.

    With a proven copy the workspace is as good as hibernated then: what was not saved since is on the lost machine,
    and counts again if that one comes back before a wake has succeeded elsewhere.
    """
    if status not in (InstanceStatus.RUNNING, InstanceStatus.IDLE):
        return status
    return InstanceStatus.HIBERNATED if has_proven_copy else InstanceStatus.FAILED


def _for_row(
    listing: Listing, row: MachineRow, our_prefix: str, grace: timedelta, now: datetime
) -> Iterator[Action]:
    listed = row.contract_id is not None and row.contract_id in listing.labels
    if row.state is MachineState.DESTROYING:
        yield from _destroying(listing, row, listed, now)
    elif listed and row.contract_id is not None and _is_nobodys_spare(row):
        yield SendAway(row.id, row.contract_id)
    elif row.state in _KEPT_WITH_CONTRACT:
        yield from _live(listing, row, listed, grace, now)
    elif row.state in _UNEXPECTED:
        yield from _unexpected(listing, row, listed, now)
    elif row.state is MachineState.ORPHAN and row.contract_id is not None:
        if not listed:
            yield ConfirmDestroyed(row.id)
        elif now - row.since >= ORPHAN_GRACE and listing.labels[row.contract_id].startswith(our_prefix):
            # Whoever gave it another label since has made it theirs.
            yield SendAway(row.id, row.contract_id)


def _is_nobodys_spare(row: MachineRow) -> bool:
    """Its wake sends it away with its last word; where that went wrong, nobody else would."""
    return row.state is MachineState.SPARE and not row.owned


def _destroying(listing: Listing, row: MachineRow, listed: bool, now: datetime) -> Iterator[Action]:
    if row.owned or row.contract_id is None:
        return
    # A list may lag behind a launch: what was never asked to end is asked once, listed or not.
    if row.destroy_due_at is None or (listed and row.destroy_due_at <= now):
        yield DestroyAgain(row.id, row.contract_id)
    elif not listed and row.since < listing.taken_at:
        yield ConfirmDestroyed(row.id)


def _unexpected(listing: Listing, row: MachineRow, listed: bool, now: datetime) -> Iterator[Action]:
    """Listed although it should not be. A list may lag behind a confirmed end, so that one is given a while."""
    contract = row.contract_id if listed else _contract_of(listing, row.label)
    if contract is None or (row.state is MachineState.DESTROYED and now - row.since < MISSING_GRACE):
        return
    yield Recover(row.id, contract) if row.holds_work else SendAway(row.id, contract)


def _live(
    listing: Listing, row: MachineRow, listed: bool, grace: timedelta, now: datetime
) -> Iterator[Action]:
    if row.owned and row.state is MachineState.PARKED:
        return
    if listed:
        if row.missing_since is not None:
            yield NotePresent(row.id)
    elif row.since >= listing.taken_at:
        return
    elif row.missing_since is None:
        yield NoteMissing(row.id)
    elif listing.taken_at - max(row.missing_since, row.last_beat_at or row.missing_since) >= grace:
        # A machine that still reports works, and bills, whatever the list says.
        yield DeclareLost(row.id)


def _contract_of(listing: Listing, label: str) -> str | None:
    return next((contract for contract, text in listing.labels.items() if text == label), None)


def _orphans(listing: Listing, rows: Sequence[MachineRow], our_prefix: str) -> Iterator[Action]:
    """Ours by its label, and no row's: no contract's, and no launch's that may still find its own by the label."""
    looked_for = {row.label for row in rows if row.contract_id is None}
    known_contracts = {row.contract_id for row in rows}
    for contract, label in listing.labels.items():
        if label.startswith(our_prefix) and label not in looked_for and contract not in known_contracts:
            yield ReportOrphan(contract, label)


def _implausible(listing: Listing, rows: Sequence[MachineRow]) -> bool:
    live = [r for r in rows if r.state in _KEPT_WITH_CONTRACT and r.since < listing.taken_at]
    missing = sum(1 for r in live if r.contract_id not in listing.labels)
    return missing >= 3 and missing * 2 >= len(live)
