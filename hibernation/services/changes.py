"""Applies what the pure core decided to the rows, inside the claim or settle transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, assert_never

from django.conf import settings
from django.db.models import Q

from hibernation.domain.facts import Equipment
from hibernation.domain.offers import Offer
from hibernation.domain.outcomes import (
    BeginSnapshot,
    Change,
    Changes,
    DismissSpare,
    Emit,
    ForgetMachine,
    ForgetSpare,
    HoldHibernation,
    IntendMachine,
    JudgeHost,
    MeasuredHost,
    Park,
    PassPointOfNoReturn,
    RecordEquipment,
    SetAside,
    SetMachine,
    SetStatus,
    SnapshotAbandoned,
    SnapshotFailed,
    SnapshotFrozen,
    SnapshotVerified,
    SwapMachines,
    TakeSpare,
)
from hibernation.domain.states import (
    EventType,
    MachineState,
    OperationKind,
    OperationState,
    SnapshotState,
)
from hibernation.models import Instance, Machine, Operation, Snapshot
from hibernation.services import hosts
from hibernation.services.copies import point_to_best
from hibernation.services.facts import load_memo
from hibernation.services.keys import current_key
from hibernation.services.spares import apply_to_spare
from hibernation.services.transitions import emit, set_machine, set_status

UNPROVEN_LASTS = timedelta(hours=24)
"""How long a copy that was frozen but never proven is built upon."""


@dataclass(slots=True)
class Applier:
    """Applies changes in order. A status change travels with the next event, so that the log replays.

    The core always puts the event that explains a status after it in the same tuple.
    """

    instance: Instance
    operation: Operation
    now: datetime
    _status: tuple[str, str] = ("", "")
    _used: float | None = None

    def apply(self, changes: Changes) -> None:
        # The event of a hibernation tells it, and the hibernated instance does not any more.
        self._used = self.instance.gpu_utilization
        for change in changes:
            self._apply(change)
        if self._status != ("", ""):
            raise AssertionError(f"status change without an event: {self._status}")

    def _apply(self, change: Change) -> None:
        match change:
            case SetStatus(status):
                self._status = set_status(self.instance, status, self.now)
            case Emit(event, reason, data):
                self._emit(event, reason, data)
            case IntendMachine():
                self._intend(change)
            case SetMachine(state, contract_id, reason):
                set_machine(self._machine(), state, self.now, contract_id=contract_id, reason=reason)
            case Park(until):
                self._park(until)
            case ForgetMachine():
                self.operation.machine = None
            case SetAside() | SwapMachines() | TakeSpare() | DismissSpare() | ForgetSpare():
                apply_to_spare(self.operation, change, self.now)
            case BeginSnapshot(round_):
                self._begin_snapshot(round_)
            case SnapshotFrozen(round_, result):
                self._frozen(round_, result)
            case SnapshotVerified():
                self._verified()
            case SnapshotFailed(reason):
                self._snapshot_failed(reason)
            case SnapshotAbandoned(reason):
                self._snapshot_ended(reason)
            case JudgeHost(offer, verdict, reason):
                hosts.remember_verdict(offer, verdict, reason, self.now)
            case MeasuredHost(offer, mbps):
                self._measured(offer, mbps)
            case RecordEquipment(equipment):
                self._equipped(equipment)
            case HoldHibernation(seconds):
                self.instance.hold_until = self.now + timedelta(seconds=seconds)
                self.instance.save(update_fields=["hold_until"])
            case PassPointOfNoReturn():
                self.operation.point_of_no_return_at = self.now
            case _:
                assert_never(change)

    def _machine(self) -> Machine:
        if self.operation.machine is None:
            raise AssertionError("no machine")
        return self.operation.machine

    def _park(self, until: datetime) -> None:
        machine = self._machine()
        machine.parked_until, machine.parked_snapshot = until, self._snapshot()
        machine.save(update_fields=["parked_until", "parked_snapshot"])
        set_machine(machine, MachineState.PARKED, self.now, reason="kept warm")

    def _emit(self, event: EventType, reason: str, data: Mapping[str, Any]) -> None:
        emit(
            event,
            reason,
            instance=self.instance,
            now=self.now,
            operation=self.operation,
            status=self._status,
            data=data,
            used=self._used,
        )
        self._status = ("", "")
        if self.operation.kind == OperationKind.SNAPSHOT:
            return
        if event in (EventType.FAILED, EventType.HIBERNATE_VETOED, EventType.STILL_BILLING):
            self.instance.last_error = reason
        elif event in (EventType.HIBERNATED, EventType.WOKE, EventType.ADOPTED):
            self.instance.last_error = ""
        else:
            return
        self.instance.save(update_fields=["last_error"])

    def _intend(self, change: IntendMachine) -> None:
        offer, operation = change.offer, self.operation
        number = load_memo(operation.memo).attempt
        label = f"{settings.DUMONT_LABEL_PREFIX}{self.instance.pk}-{operation.pk}-{number}"
        operation.machine = Machine.objects.create(
            instance=self.instance,
            provider=offer.provider,
            label=label,
            state=MachineState.INTENDED,
            state_changed_at=self.now,
            offer_id=offer.offer_id,
            host=offer.host,
            gpu_type=offer.gpu_type,
            gpu_count=offer.gpu_count,
            region=offer.region,
            price_per_hour=offer.price_per_hour,
            intended_at=self.now,
        )

    def _measured(self, offer: Offer, mbps: float) -> None:
        """Where a limit of ours held it back, the host's own speed is not known."""
        if self.instance.transfer_limit_mbit is None:
            hosts.remember_speed(offer, mbps, self.now)

    def _equipped(self, equipment: Equipment) -> None:
        machine = self._machine()
        machine.gpus, machine.driver, machine.cuda = list(equipment.gpus), equipment.driver, equipment.cuda
        machine.save(update_fields=["gpus", "driver", "cuda"])

    def _begin_snapshot(self, round_: int) -> None:
        """Each round is a snapshot of its own: what an earlier round proved stays proven if this one ends badly."""
        self.operation.snapshot = Snapshot.objects.create(
            name=self._snapshot_name(round_),
            instance=self.instance,
            parent=self._latest_frozen(),
            round=round_,
            created_at=self.now,
            key=current_key(self.instance),
        )

    def _latest_frozen(self) -> Snapshot | None:
        """What this box last froze, or was restored from; also where that operation was called off later.

        What was never proven holds on to no pack, so that its packs may be collected after a while.
        """
        recent = Q(state=SnapshotState.FROZEN, frozen_at__gt=self.now - UNPROVEN_LASTS)
        proven = Q(state=SnapshotState.VERIFIED, damaged_at__isnull=True)
        machine = self._machine()
        restored = machine.operations.filter(kind=OperationKind.WAKE, state=OperationState.SUCCEEDED)
        here = Q(created_at__gte=machine.intended_at) | Q(pk__in=restored.values("snapshot"))
        usable = self.instance.snapshots.filter(here, recent | proven)
        return usable.order_by("-id").first()

    def _snapshot_name(self, round_: int) -> str:
        """The guide's form: vast_12345_hibernate_1734441600."""
        name = f"{self.instance.pk}_{self.operation.kind}_{int(self.now.timestamp())}"
        taken = Snapshot.objects.filter(name=name).exists()
        return f"{name}_{self.operation.pk}_{round_}" if taken else name

    def _frozen(self, round_: int, result: Mapping[str, Any]) -> None:
        snapshot, manifest = self._snapshot(), result["manifest"]
        snapshot.state, snapshot.round, snapshot.frozen_at = SnapshotState.FROZEN, round_, self.now
        snapshot.manifest_key, snapshot.manifest_size = manifest["key"], manifest["size"]
        snapshot.manifest_sha256, snapshot.manifest_id = manifest["sha256"], manifest["id"]
        snapshot.files, snapshot.bytes_logical = result["files"], result["bytes_logical"]
        snapshot.bytes_stored_new = result["bytes_stored_new"]
        snapshot.report = {
            key: result[key]
            for key in (
                "skipped",
                "skipped_total",
                "unreadable_total",
                "changed_while_read",
                "left_out",
                "left_out_files",
                "left_out_bytes",
                "to_fetch",
            )
            if key in result
        }
        snapshot.save()
        size = f"{snapshot.bytes_logical / 1e6:.1f} MB in {snapshot.files} files"
        self._emit(
            EventType.SNAPSHOT_CREATED, f"{size} saved", {"bytes_stored_new": snapshot.bytes_stored_new}
        )

    def _verified(self) -> None:
        snapshot = self._snapshot()
        snapshot.state, snapshot.verified_at = SnapshotState.VERIFIED, self.now
        snapshot.save(update_fields=["state", "verified_at"])
        point_to_best(self.instance)

    def _snapshot_failed(self, reason: str) -> None:
        if self._snapshot_ended(reason):
            self.instance.state_generation += 1
            self.instance.save(update_fields=["state_generation"])

    def _snapshot_ended(self, reason: str) -> bool:
        snapshot = self.operation.snapshot
        if snapshot is None:
            return False
        snapshot.state, snapshot.state_reason = SnapshotState.FAILED, reason
        snapshot.save(update_fields=["state", "state_reason"])
        return True

    def _snapshot(self) -> Snapshot:
        if self.operation.snapshot is None:
            raise AssertionError("no snapshot")
        return self.operation.snapshot
