"""Machines that are kept warm: how long, what each list calls for, and what becomes of them when somebody lets go.

They stand still with a disk that a proven copy has as well. Nothing here ends one whose copy is not good any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import assert_never

from django.db import transaction

from hibernation.domain.durations import in_words
from hibernation.domain.errors import Conflict, InvalidRequest
from hibernation.domain.keeping_warm import FRESH, Deed, EndParked, Parked, TakeBack, TellNeeded, plan_parked
from hibernation.domain.parking import at_price
from hibernation.domain.standing import ALARM_EVERY
from hibernation.domain.states import EventType, InstanceStatus, MachineState, OperationState, Phase
from hibernation.models import Instance, Machine, Operation
from hibernation.providers.base import Provider
from hibernation.providers.registry import get_provider, provider_names
from hibernation.services.clock import db_now
from hibernation.services.copies import is_proven
from hibernation.services.due import SCHEDULED, schedule
from hibernation.services.giving_back import pressures_on
from hibernation.services.locks import locked_machine
from hibernation.services.transitions import emit, set_machine, set_status

_WHY_NOT = "wake it, or add ?leave_machine=true: the machine is then left as it is, billed, and nobody looks after it."


class MachineLive(Conflict):
    """A machine is rented for this instance."""

    code = "machine_live"


def warmth(instance: Instance, machine: Machine | None, now: datetime) -> timedelta:
    """How long the machine is kept, stopped, once its workspace is saved; zero: it is ended."""
    if machine is None or not instance.warm_minutes or not get_provider(machine.provider).can_park:
        return timedelta(0)
    pressed = pressures_on(machine, instance, now)
    return timedelta(0) if pressed else timedelta(minutes=instance.warm_minutes)


def check_warmth(instance: Instance) -> None:
    """``InvalidRequest`` where a stopped machine would not start again as it was: it would bill for nothing."""
    known = instance.provider in provider_names()
    if instance.warm_minutes and known and not get_provider(instance.provider).can_park:
        why = f"Machines of {instance.provider} do not start again as they were stopped."
        raise InvalidRequest("The machine cannot be kept warm.", {"keep_warm_minutes": why})


def is_saved(machine: Machine) -> bool:
    """Whether all that its stopped disk holds is in a good copy; true of every machine that was never parked."""
    return machine.parked_snapshot_id is None or is_proven(machine.parked_snapshot)


def look_after_parked(provider: Provider) -> int:
    """Do what the list just noted calls for; how many deeds. Whoever is to end is destroyed by the reconciler."""
    parked = Machine.objects.filter(provider=provider.name, state=MachineState.PARKED).exclude(phase="")
    done = 0
    for machine in list(parked.select_related("instance", "parked_snapshot")):
        deed = plan_parked(_seen(machine, db_now()), db_now())
        if deed is not None:
            _carry_out(deed)
            done += 1
    return done


def no_longer_listed(machine: Machine, now: datetime) -> None:
    """Lists have lacked it for the usual grace. The caller holds the locks."""
    instance = _instance_of(machine)
    if not is_saved(machine):
        if machine.alarmed_at is None or now - machine.alarmed_at >= ALARM_EVERY:
            _tell_needed(machine, "is not listed any more", now)
        return
    # Whoever started it may have work there: it counts again if it comes back.
    state = MachineState.LOST if machine.phase == Phase.RUNNING else MachineState.DESTROYED
    set_machine(machine, state, now, reason="it vanished from the provider's list")
    reason = "the machine that was kept warm vanished from the provider's list; its workspace wakes elsewhere"
    emit(
        EventType.MACHINE_LOST, reason, instance=instance, now=now, data={"contract_id": machine.contract_id}
    )


def reschedule_parked(instance: Instance, now: datetime) -> None:
    """The time of a machine that is kept warm, after the instance's wish has changed. The caller holds the lock."""
    for machine in instance.machines.filter(state=MachineState.PARKED):
        machine.parked_until = machine.state_changed_at + timedelta(minutes=instance.warm_minutes)
        machine.save(update_fields=["parked_until"])


def let_go_of_parked(instance: Instance, leave_machine: bool, now: datetime) -> Sequence[Machine]:
    """Before its instance is released: it is ended, or left to itself and answered. The caller holds the lock.

    ``MachineLive`` where its disk is the only right copy of the workspace.
    """
    machines = list(instance.machines.filter(state=MachineState.PARKED).select_related("parked_snapshot"))
    for machine in machines:
        if leave_machine:
            set_machine(machine, MachineState.RELEASED, now, reason="its instance was released")
        elif is_saved(machine) and _stands_still(machine, now):
            _end(machine, "its instance was released", now)
        else:
            raise MachineLive(
                f"The stopped machine {machine} of {instance.pk} may have work that no good copy has: {_WHY_NOT}"
            )
    return machines if leave_machine else []


def _instance_of(machine: Machine) -> Instance:
    if machine.instance is None:
        raise AssertionError("a machine without an instance is not kept warm")
    return machine.instance


def _stands_still(machine: Machine, now: datetime) -> bool:
    fresh = machine.listed_at is not None and now - machine.listed_at <= FRESH
    return fresh and machine.phase == Phase.STOPPED


def _seen(machine: Machine, now: datetime) -> Parked:
    instance = _instance_of(machine)
    pressed = pressures_on(machine, instance, now)
    since = machine.phase_since or machine.state_changed_at
    return Parked(
        machine_id=machine.pk,
        contract_id=machine.contract_id or "",
        phase=Phase(machine.phase or Phase.STOPPED),
        since=since,
        # A list that was taken before it was parked says nothing.
        lists=machine.phase_lists if since > machine.state_changed_at else 0,
        seen_at=machine.listed_at or machine.state_changed_at,
        until=machine.parked_until or now,
        pressed=pressed[0].why if pressed else "",
        is_saved=is_saved(machine),
        alarmed_at=machine.alarmed_at,
        occupied=Operation.objects.filter(instance=instance, state=OperationState.RUNNING).exists(),
    )


@transaction.atomic
def _carry_out(deed: Deed) -> None:
    """If what is known under the lock still calls for it."""
    machine, now = locked_machine(deed.machine_id), db_now()
    if machine.state != MachineState.PARKED or plan_parked(_seen(machine, now), now) != deed:
        return
    match deed:
        case EndParked():
            _end(machine, deed.reason, now)
        case TakeBack():
            _take_back(machine, now)
        case TellNeeded():
            _tell_needed(machine, "is kept past its time", now)
        case _:
            assert_never(deed)


def _end(machine: Machine, reason: str, now: datetime) -> None:
    warm_for = in_words(now - machine.state_changed_at)
    set_machine(machine, MachineState.DESTROYING, now, reason=f"it was kept warm; {reason}")
    told = (
        f"the machine is kept warm no longer, after {warm_for}{at_price(machine.stopped_usd_hour)}: {reason}"
    )
    emit(EventType.PARKING_ENDED, told, instance=machine.instance, now=now,
         data={"contract_id": machine.contract_id})  # fmt: skip


def _take_back(machine: Machine, now: datetime) -> None:
    """Somebody works there, or a start came true that was long given up: it is looked after as any that runs.

    It counts as down until its agent reports: the agent is put there again, and idleness ends it as usual.
    """
    instance = _instance_of(machine)
    set_machine(machine, MachineState.ACTIVE, now, reason="it runs, and not by us")
    machine.down_since = now
    machine.save(update_fields=["down_since"])
    arrow = set_status(instance, InstanceStatus.RUNNING, now)
    schedule(instance)
    instance.last_error = "the machine that was kept warm runs, and not by us; its agent is started again"
    instance.save(update_fields=[*SCHEDULED, "last_error"])
    emit(EventType.MACHINE_RETURNED, instance.last_error, instance=instance, now=now, status=arrow,
         data={"contract_id": machine.contract_id})  # fmt: skip


def _tell_needed(machine: Machine, how: str, now: datetime) -> None:
    machine.alarmed_at = now
    machine.save(update_fields=["alarmed_at"])
    instance = _instance_of(machine)
    instance.last_error = (
        f"the copy that the stopped machine {machine} was saved in is not good any more: its disk alone has the "
        f"workspace right. It {how}, and bills{at_price(machine.stopped_usd_hour)}: wake {instance.pk}, so that it "
        f"is saved anew, or give that up with manage.py forget_machine {machine} --discard-work"
    )
    instance.save(update_fields=["last_error"])
    emit(EventType.STILL_BILLING, instance.last_error, instance=instance, now=now,
         data={"contract_id": machine.contract_id})  # fmt: skip
