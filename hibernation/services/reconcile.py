"""Repairing drift: what is due but not running is sent again; our machine rows are compared with a complete list.

The list is taken first, without a transaction, and the rows are read after it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import assert_never

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from hibernation.box.fence import resume_writers
from hibernation.domain.backoff import retry_seconds
from hibernation.domain.durations import in_words
from hibernation.domain.errors import BoxError, ProviderError
from hibernation.domain.parking import at_price
from hibernation.domain.reconcile import (
    Action,
    ConfirmDestroyed,
    DeclareLost,
    DestroyAgain,
    Listing,
    MachineRow,
    NoteMissing,
    NotePresent,
    Recover,
    ReportOrphan,
    SendAway,
    plan_reconcile,
    status_after_loss,
)
from hibernation.domain.standing import ALARM_EVERY
from hibernation.domain.states import (
    LIVE_MACHINE_STATES,
    EventType,
    InstanceStatus,
    MachineState,
    OperationKind,
    OperationState,
)
from hibernation.models import Machine, Operation, Snapshot
from hibernation.providers.base import Provider, RentedMachine
from hibernation.providers.registry import get_provider, provider_names
from hibernation.services.accounts import refresh
from hibernation.services.clock import db_now
from hibernation.services.copies import is_proven
from hibernation.services.dispatch import enqueue_operation
from hibernation.services.due import SCHEDULED, schedule
from hibernation.services.locks import locked_machine
from hibernation.services.parking import look_after_parked, no_longer_listed
from hibernation.services.sightings import note_list, note_no_list
from hibernation.services.spares import in_hands
from hibernation.services.standing import look_after
from hibernation.services.starting import running_operation
from hibernation.services.steps.context import box_of
from hibernation.services.transitions import emit, set_machine, set_status

log = logging.getLogger(__name__)

DRIVE_BATCH = 500
_LONGEST_LABEL = 128
LATE = timedelta(seconds=2)
"""A step this long overdue lost its message: flushed broker, killed worker, failed publish."""
_OVER = (MachineState.DESTROYED, MachineState.VOID, MachineState.RELEASED)
_KEPT = LIVE_MACHINE_STATES | {MachineState.PARKED}
_MAY_RESUME = (InstanceStatus.FAILED, InstanceStatus.HIBERNATED, InstanceStatus.DELETED)
_MAY_BE_SENT_AWAY = (
    MachineState.ABANDONED,
    MachineState.DESTROYED,
    MachineState.LOST,
    MachineState.ORPHAN,
    MachineState.SPARE,
    MachineState.VOID,
)


def drive_due() -> int:
    """Send again every running operation whose step is overdue and unheld; how many were sent.

    A step sent twice is claimed once.
    """
    free = Q(lease_until__isnull=True) | Q(lease_until__lte=Now())
    due = Operation.objects.filter(free, state=OperationState.RUNNING, next_attempt_at__lte=Now() - LATE)
    rows = list(due.order_by("next_attempt_at").values_list("pk", "kind", "step")[:DRIVE_BATCH])
    for pk, kind, step in rows:
        enqueue_operation(pk, OperationKind(kind), step)
    return len(rows)


def reconcile() -> int:
    """Compare every provider with our rows and repair; how many repairs. One provider's failure stops no other."""
    repairs = 0
    for name in provider_names():
        try:
            repairs += _reconcile_provider(get_provider(name))
        except ProviderError as error:
            log.warning("reconcile: %s gave no complete list: %s", name, error)
            note_no_list(name, error.message)
    return repairs


def _reconcile_provider(provider: Provider) -> int:
    taken_at = db_now()
    listed = {machine.contract_id: machine for machine in provider.list_machines()}
    note_list(provider.name, listed, taken_at)
    ended = look_after_parked(provider)
    listing = Listing(taken_at, {contract: machine.label for contract, machine in listed.items()})
    watched = _watched(provider.name, listing)
    owned = _ended_by_operations(watched) | in_hands(_spares(watched))
    rows = [_row(machine, owned=machine.pk in owned) for machine in watched]
    actions = plan_reconcile(listing, rows, our_prefix=settings.DUMONT_LABEL_PREFIX, now=db_now())
    for action in actions:
        _try(provider, action, listed)
    looked_after = look_after(provider, listed)
    refresh(provider)
    return ended + len(actions) + looked_after


def _watched(provider: str, listing: Listing) -> list[Machine]:
    """Everything not over, and over rows that the list still names: a machine confirmed gone may come back."""
    named = Q(contract_id__in=list(listing.labels)) | Q(label__in=list(listing.labels.values()))
    watched = Machine.objects.filter(~Q(state__in=_OVER) | named, provider=provider)
    return list(watched.select_related("instance"))


def _ended_by_operations(machines: Sequence[Machine]) -> set[int | None]:
    ending = Operation.objects.filter(
        machine__in=machines,
        state=OperationState.RUNNING,
        kind=OperationKind.HIBERNATE,
        point_of_no_return_at__isnull=False,
    )
    return set(ending.values_list("machine_id", flat=True))


def _spares(machines: Sequence[Machine]) -> list[Machine]:
    return [machine for machine in machines if machine.state == MachineState.SPARE]


def _row(machine: Machine, *, owned: bool) -> MachineRow:
    return MachineRow(
        id=machine.pk,
        label=machine.label,
        state=MachineState(machine.state),
        since=machine.state_changed_at,
        contract_id=machine.contract_id,
        missing_since=machine.missing_since,
        destroy_due_at=machine.destroy_due_at,
        owned=owned,
        holds_work=_holds_work(machine),
        last_beat_at=_last_beat_at(machine),
    )


def _last_beat_at(machine: Machine) -> datetime | None:
    """Only the active machine's heartbeats are noted on its instance."""
    if machine.state != MachineState.ACTIVE or machine.instance is None:
        return None
    return machine.instance.last_heartbeat_at


def _holds_work(machine: Machine) -> bool:
    """Lost while it held the workspace, which has not come back elsewhere since: a wake that failed changes nothing.

    A wake that began on this machine, lost it and went on elsewhere counts: it began before the loss.
    """
    if machine.state != MachineState.LOST or machine.activated_at is None:
        return False
    woken = Operation.objects.filter(
        instance=machine.instance_id,
        kind=OperationKind.WAKE,
        state=OperationState.SUCCEEDED,
        finished_at__gt=machine.state_changed_at,
    )
    return not woken.exclude(machine=machine).exists()


def _try(provider: Provider, action: Action, listed: dict[str, RentedMachine]) -> None:
    """``except Exception``: one row that cannot be dealt with must not stop what the others need."""
    try:
        _carry_out(provider, action, listed)
    except Exception:
        log.exception("reconcile: %s failed, the next list tries again", action)


def _carry_out(provider: Provider, action: Action, listed: dict[str, RentedMachine]) -> None:
    match action:
        case ConfirmDestroyed(machine_id):
            _confirm_destroyed(machine_id)
        case DestroyAgain(machine_id, contract_id):
            _destroy(provider, machine_id, contract_id)
        case NoteMissing(machine_id):
            Machine.objects.filter(pk=machine_id).update(missing_since=Now())
        case NotePresent(machine_id):
            Machine.objects.filter(pk=machine_id).update(missing_since=None)
        case DeclareLost(machine_id):
            _declare_lost(machine_id)
        case SendAway(machine_id, contract_id):
            if _send_away(machine_id, contract_id):
                _destroy(provider, machine_id, contract_id)
        case Recover(machine_id):
            _recover(machine_id)
        case ReportOrphan(contract_id, label):
            _report_orphan(listed[contract_id], label)
        case _:
            assert_never(action)


@transaction.atomic
def _confirm_destroyed(machine_id: int) -> None:
    machine, now = locked_machine(machine_id), db_now()
    if machine.state not in (MachineState.DESTROYING, MachineState.ORPHAN):
        return
    set_machine(machine, MachineState.DESTROYED, now, reason=machine.state_reason)
    emit(EventType.MACHINE_DESTROYED, f"the rental {machine.contract_id} has ended: {machine.state_reason}",
         instance=machine.instance, now=now, data={"contract_id": machine.contract_id})  # fmt: skip


def _destroy(provider: Provider, machine_id: int, contract_id: str) -> None:
    """Only whoever moves ``destroy_due_at`` calls, so that two reconcilers do not call together."""
    row = Machine.objects.get(pk=machine_id)
    pause = timedelta(seconds=retry_seconds(row.destroy_attempts, first=5, cap=300))
    due = Q(destroy_due_at__isnull=True) | Q(destroy_due_at__lte=Now())
    won = Machine.objects.filter(due, pk=machine_id, state=MachineState.DESTROYING).update(
        destroy_due_at=Now() + pause, destroy_attempts=row.destroy_attempts + 1
    )
    if not won:
        return
    try:
        provider.destroy(contract_id)
    except ProviderError as error:
        log.warning("machine %s: destroy was not accepted, it still bills: %s", contract_id, error)


@transaction.atomic
def _send_away(machine_id: int, contract_id: str) -> bool:
    machine, now = locked_machine(machine_id), db_now()
    if machine.state not in _MAY_BE_SENT_AWAY or _holds_work(machine) or in_hands(_spares([machine])):
        return False
    reason = machine.state_reason or f"{machine.state} machine is listed"
    set_machine(machine, MachineState.DESTROYING, now, contract_id=contract_id, reason=reason)
    return True


@transaction.atomic
def _declare_lost(machine_id: int) -> None:
    machine, now = locked_machine(machine_id), db_now()
    if machine.state == MachineState.PARKED and not _is_occupied(machine):
        no_longer_listed(machine, now)
    if machine.state not in (MachineState.LAUNCHED, MachineState.SPARE, MachineState.ACTIVE):
        return
    set_machine(machine, MachineState.LOST, now, reason="it vanished from the provider's list")
    instance = machine.instance
    if instance is None:
        return
    kept = instance.snapshot if is_proven(instance.snapshot) else None
    status = status_after_loss(InstanceStatus(instance.status), has_proven_copy=kept is not None)
    arrow = set_status(instance, status, now)
    instance.last_error = f"the machine vanished from the provider's list; {_what_is_kept(kept, now)}"
    instance.save(update_fields=["last_error"])
    emit(EventType.MACHINE_LOST, instance.last_error, instance=instance, now=now, status=arrow)


def _is_occupied(machine: Machine) -> bool:
    """An operation that stops or starts a machine finds out by itself that it is gone."""
    return machine.instance is not None and running_operation(machine.instance) is not None


def _what_is_kept(kept: Snapshot | None, now: datetime) -> str:
    if kept is None or kept.frozen_at is None:
        return "no proven copy of its workspace was kept"
    return f"wake it from its last proven copy, {in_words(now - kept.frozen_at)} old"


def _recover(machine_id: int) -> None:
    """Let paused writers go on first, so that nobody counts on a workspace that stands still."""
    machine = Machine.objects.select_related("instance").get(pk=machine_id)
    try:
        resume_writers(box_of(machine))
    except BoxError as error:
        log.warning("machine %s is listed again but does not answer: %s", machine.contract_id, error)
        _tell_unanswering(machine_id, error.message)
        return
    _back_in_service(machine_id)


@transaction.atomic
def _tell_unanswering(machine_id: int, why: str) -> None:
    """Once a day: it may have the latest work, so only a person may give it up."""
    machine, now = locked_machine(machine_id), db_now()
    instance = machine.instance
    if instance is None or machine.state != MachineState.LOST or not _holds_work(machine):
        return
    if machine.alarmed_at is not None and now - machine.alarmed_at < ALARM_EVERY:
        return
    machine.alarmed_at = now
    machine.save(update_fields=["alarmed_at"])
    emit(EventType.STILL_BILLING,
         f"the lost machine {machine} is listed again and bills{at_price(machine.price_per_hour)}, but does not answer "
         f"({why}); it may have unsaved work: mend it, or wake {instance.pk} elsewhere or give it up with "
         f"manage.py forget_machine {machine}, which ends it",
         instance=instance, now=now, data={"contract_id": machine.contract_id})  # fmt: skip


@transaction.atomic
def _back_in_service(machine_id: int) -> None:
    machine, now = locked_machine(machine_id), db_now()
    instance = machine.instance
    if instance is None or machine.state != MachineState.LOST or not _holds_work(machine):
        return
    if running_operation(instance) is not None or instance.status not in _MAY_RESUME:
        return
    if instance.machines.filter(state__in=_KEPT).exists():
        return
    set_machine(machine, MachineState.ACTIVE, now, reason="it is listed again")
    arrow = set_status(instance, InstanceStatus.RUNNING, now)
    schedule(instance)
    instance.save(update_fields=SCHEDULED)
    emit(EventType.MACHINE_RETURNED, "the machine is listed again, with its unsaved work",
         instance=instance, now=now, status=arrow)  # fmt: skip


@transaction.atomic
def _report_orphan(found: RentedMachine, label: str) -> None:
    now = db_now()
    machine, created = Machine.objects.get_or_create(
        provider=found.provider,
        contract_id=found.contract_id,
        defaults={
            "label": _free_label(found.contract_id, label),
            "state": MachineState.ORPHAN,
            "state_reason": "our label, but no record of ours explains it",
            "state_changed_at": now,
            "intended_at": now,
            "price_per_hour": found.price_per_hour,
            "gpu_type": found.gpu_type,
            "region": found.region,
        },
    )
    if created:
        emit(EventType.ORPHAN_FOUND, f"{machine.contract_id} bills under our label without a record",
             instance=None, now=now, data={"contract_id": machine.contract_id, "label": label})  # fmt: skip


def _free_label(contract_id: str, label: str) -> str:
    """A launch that was carried out twice has left its label on two machines."""
    fits = len(label) <= _LONGEST_LABEL and not Machine.objects.filter(label=label).exists()
    return label if fits else f"{label[: _LONGEST_LABEL // 2]}#{contract_id}"
