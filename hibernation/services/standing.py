"""Looking after machines that hold a workspace and do not work: tell it, start them again, put the agent back.

None is ended here: what was written since the last proven copy is on its disk and nowhere else.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import assert_never

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from hibernation.domain import idle
from hibernation.domain.errors import BoxError, BoxUnreachable, ProviderError, ProviderRefused
from hibernation.domain.standing import (
    Alarm,
    PutToWork,
    Sighting,
    StartAgain,
    Step,
    TellBack,
    TellDown,
    pause_after_start,
    plan_standing,
)
from hibernation.domain.states import (
    EventType,
    InstanceStatus,
    MachineState,
    OperationState,
    Phase,
)
from hibernation.models import Instance, Machine, Operation
from hibernation.providers.base import Provider, RentedMachine, SshAddress
from hibernation.services.clock import db_now
from hibernation.services.locks import locked_machine
from hibernation.services.steps import boxes, context
from hibernation.services.transitions import emit, set_status

log = logging.getLogger(__name__)

REFUSED_PAUSE = timedelta(minutes=10)
"""Between two attempts to start a machine whose GPU is let to somebody else: that may last for days."""
AGENT_PAUSE = timedelta(minutes=5)


def look_after(provider: Provider, listed: Mapping[str, RentedMachine]) -> int:
    """Do what the list just noted calls for; how many steps. A machine that resists stops no other."""
    held = Machine.objects.filter(
        provider=provider.name, state=MachineState.ACTIVE, contract_id__in=listed, instance__isnull=False
    )
    machines = list(held.exclude(phase="").select_related("instance"))
    occupied = _occupied(machines)
    done = 0
    for machine in machines:
        for step in plan_standing(_sighting(machine, machine.pk in occupied), db_now()):
            _carry_out(provider, step, listed)
            done += 1
    return done


def _occupied(machines: Sequence[Machine]) -> set[int | None]:
    running = Operation.objects.filter(state=OperationState.RUNNING, machine__in=machines)
    return set(running.values_list("machine_id", flat=True))


def _sighting(machine: Machine, occupied: bool) -> Sighting:
    instance = _instance_of(machine)
    return Sighting(
        machine_id=machine.pk,
        contract_id=machine.contract_id or "",
        phase=Phase(machine.phase),
        since=machine.phase_since or machine.state_changed_at,
        lists=machine.phase_lists,
        last_beat_at=instance.last_heartbeat_at,
        longest_gap=idle.longest_gap(instance.idle_state),
        down_since=machine.down_since,
        starts=machine.starts,
        due_at=machine.start_due_at,
        alarmed_at=machine.alarmed_at,
        occupied=occupied,
    )


def _instance_of(machine: Machine) -> Instance:
    if machine.instance is None:
        raise AssertionError("a machine without an instance holds no workspace")
    return machine.instance


def _carry_out(provider: Provider, step: Step, listed: Mapping[str, RentedMachine]) -> None:
    match step:
        case TellDown():
            _tell_down(step)
        case TellBack():
            _tell_back(step)
        case Alarm():
            _alarm(step)
        case StartAgain(machine_id, contract_id):
            _start(provider, machine_id, contract_id)
        case PutToWork(machine_id, contract_id):
            _put_to_work(machine_id, listed[contract_id].ssh)
        case _:
            assert_never(step)


def _still_due(step: Step) -> tuple[Machine, datetime] | None:
    """The machine under lock, if what is known of it by now still calls for ``step``."""
    machine, now = locked_machine(step.machine_id), db_now()
    if machine.state != MachineState.ACTIVE:
        return None
    seen = _sighting(machine, machine.pk in _occupied([machine]))
    return (machine, now) if step in plan_standing(seen, now) else None


@transaction.atomic
def _tell_down(step: TellDown) -> None:
    found = _still_due(step)
    if found is None:
        return
    machine, now = found
    machine.down_since, machine.starts = now, 0
    machine.start_due_at = machine.alarmed_at = None
    machine.save(update_fields=["down_since", "starts", "start_due_at", "alarmed_at"])
    instance, status = _instance_of(machine), ("", "")
    if instance.status == InstanceStatus.IDLE:
        # Nobody sees any more whether it is: unknown counts as active.
        status = set_status(instance, InstanceStatus.RUNNING, now)
    event = EventType.MACHINE_OFFLINE if step.offline else EventType.MACHINE_STOPPED
    _note_error(instance, _why_down(machine))
    emit(event, instance.last_error, instance=instance, now=now, status=status, data=_facts(machine))


def _why_down(machine: Machine) -> str:
    why = f" ({machine.phase_reason})" if machine.phase_reason else ""
    if machine.phase == Phase.OFFLINE:
        return f"the provider cannot reach the machine{why}; it may still work, and is waited for"
    told = "is stopped" if machine.phase == Phase.STOPPED else f"is {machine.phase}"
    return f"the machine {told} and not by us{why}; its disk is kept with what was not saved, and it is started again"


@transaction.atomic
def _tell_back(step: TellBack) -> None:
    found = _still_due(step)
    if found is None:
        return
    machine, now = found
    machine.down_since = machine.start_due_at = machine.alarmed_at = None
    machine.starts = 0
    machine.save(update_fields=["down_since", "starts", "start_due_at", "alarmed_at"])
    _note_error(_instance_of(machine), "")
    emit(EventType.MACHINE_RETURNED, "the machine reports again, with its workspace",
         instance=machine.instance, now=now, data=_facts(machine))  # fmt: skip


@transaction.atomic
def _alarm(step: Alarm) -> None:
    found = _still_due(step)
    if found is None:
        return
    machine, now = found
    machine.alarmed_at = now
    machine.save(update_fields=["alarmed_at"])
    tried = f"was started {machine.starts} times and stopped again" if machine.starts else "cannot be started"
    reason = (
        f"the machine {tried}; its disk bills, and what was not saved is nowhere else: start it with the provider, "
        f"or give that up with manage.py forget_machine {machine.contract_id} --discard-work"
    )
    _note_error(_instance_of(machine), reason)
    emit(EventType.STILL_BILLING, reason, instance=machine.instance, now=now, data=_facts(machine))


def _start(provider: Provider, machine_id: int, contract_id: str) -> None:
    """Refused for want of a GPU: asked again for as long as it takes. Started and stopped again: a few times."""
    if not _take_turn(machine_id, REFUSED_PAUSE):
        return
    try:
        provider.start(contract_id)
    except ProviderRefused as error:
        log.info("machine %s cannot be started now: %s", contract_id, error)
        _started(machine_id, counts=False, told=f"cannot be started: {error.message}")
    except ProviderError as error:
        log.warning("machine %s may have been started: %s", contract_id, error)
        _started(machine_id, counts=True, told=f"may not have been started: {error.message}")
    else:
        _started(machine_id, counts=True)


@transaction.atomic
def _started(machine_id: int, *, counts: bool, told: str = "") -> None:
    machine, now = locked_machine(machine_id), db_now()
    if machine.down_since is None or machine.state != MachineState.ACTIVE:
        return
    if counts:
        machine.starts += 1
        machine.start_due_at = now + pause_after_start(machine.starts)
        machine.save(update_fields=["starts", "start_due_at"])
    if told:
        _note_error(_instance_of(machine), f"the machine stands still and {told}")
    else:
        emit(EventType.MACHINE_STARTED, "the machine that stood still was started again",
             instance=machine.instance, now=now, data=_facts(machine))  # fmt: skip


def _put_to_work(machine_id: int, addresses: Sequence[SshAddress]) -> None:
    """A machine may have another address when it starts again, and nobody starts its agent."""
    if not _take_turn(machine_id, AGENT_PAUSE):
        return
    machine = Machine.objects.select_related("instance").get(pk=machine_id)
    for host, port, user in _to_try(machine, addresses):
        machine.ssh_host, machine.ssh_port, machine.ssh_user = host, port, user
        try:
            boxes.put_to_work(context.box_of(machine), machine, _instance_of(machine))
        except BoxError as error:
            log.warning("machine %s runs in silence: %s", machine.contract_id, error)
            if isinstance(error, BoxUnreachable):
                continue
            return
        here = Machine.objects.filter(pk=machine_id, state=MachineState.ACTIVE)
        here.update(ssh_host=host, ssh_port=port, ssh_user=user)
        return


def _to_try(machine: Machine, addresses: Sequence[SshAddress]) -> list[tuple[str, int, str]]:
    """Those that the list has now; the one that worked before first if it is among them, or if there is no other."""
    known = (machine.ssh_host, machine.ssh_port, machine.ssh_user)
    told = [(one.host, one.port, one.user) for one in addresses]
    return sorted(told, key=lambda one: one != known) or [known]


def _take_turn(machine_id: int, pause: timedelta) -> bool:
    """Whether this reconciler is the one to act now; nobody else does for ``pause``."""
    due = Q(start_due_at__isnull=True) | Q(start_due_at__lte=Now())
    mine = Machine.objects.filter(due, pk=machine_id, state=MachineState.ACTIVE)
    return bool(mine.update(start_due_at=Now() + pause))


def _note_error(instance: Instance, reason: str) -> None:
    instance.last_error = reason
    instance.save(update_fields=["last_error"])


def _facts(machine: Machine) -> dict[str, str | int]:
    return {"contract_id": machine.contract_id or "", "phase": machine.phase, "starts": machine.starts}
