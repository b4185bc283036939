"""Giving up a machine with the work that is on nothing but its disk. Only a person orders that."""

from __future__ import annotations

from django.db import transaction

from hibernation.domain import idle
from hibernation.domain.errors import Conflict, NotFound
from hibernation.domain.reconcile import status_after_loss
from hibernation.domain.states import EventType, InstanceStatus, MachineState
from hibernation.models import Machine
from hibernation.services.clock import db_now
from hibernation.services.copies import is_proven
from hibernation.services.locks import locked_machine
from hibernation.services.starting import running_operation
from hibernation.services.transitions import emit, set_machine, set_status

_MAY_BE_FORGOTTEN = (MachineState.ACTIVE, MachineState.LOST, MachineState.PARKED)


@transaction.atomic
def forget_machine(contract_id: str, *, actor: str) -> Machine:
    """End the rental without saving. The workspace goes back to its last proven copy, if there is one.

    ``Conflict`` for a machine that reports: what works can be hibernated. The reconciler has the end confirmed.
    """
    held = Machine.objects.filter(contract_id=contract_id, state__in=_MAY_BE_FORGOTTEN)
    found = held.values_list("pk", flat=True).first()
    if found is None:
        raise NotFound(f"No machine {contract_id} holds a workspace.")
    machine, now = locked_machine(found), db_now()
    instance = machine.instance
    if instance is None or machine.state not in _MAY_BE_FORGOTTEN:
        raise NotFound(f"No machine {contract_id} holds a workspace.")
    if machine.state == MachineState.ACTIVE and idle.is_fresh(instance.idle_state, now):
        raise Conflict(f"The machine {contract_id} reports: hibernate {instance.pk} instead.")
    if running_operation(instance) is not None:
        raise Conflict(f"An operation runs on {instance.pk}: wait for its end.")
    was_active = machine.state == MachineState.ACTIVE
    set_machine(machine, MachineState.DESTROYING, now, reason="given up with what was not saved")
    machine.alarmed_at = machine.down_since = None
    machine.save(update_fields=["alarmed_at", "down_since"])
    status, kept = InstanceStatus(instance.status), is_proven(instance.snapshot)
    after = status_after_loss(status, has_proven_copy=kept) if was_active else status
    arrow = set_status(instance, after, now)
    copy = "its last proven copy is kept" if kept else "there is no proven copy of its workspace"
    instance.last_error = f"the machine was given up with what was not saved; {copy}"
    instance.save(update_fields=["last_error"])
    emit(EventType.MACHINE_FORGOTTEN, instance.last_error, instance=instance, now=now, actor=actor,
         status=arrow, data={"contract_id": contract_id})  # fmt: skip
    return machine
