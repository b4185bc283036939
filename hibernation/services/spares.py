"""The machine that a wake has beside the one in hand: set aside, taken back, or sent away.

Inside the caller's transaction, which saves the operation.
"""

from __future__ import annotations

from datetime import datetime
from typing import assert_never

from django.db.models import Q

from hibernation.domain.outcomes import (
    DismissSpare,
    ForgetSpare,
    SetAside,
    SpareChange,
    SwapMachines,
    TakeSpare,
)
from hibernation.domain.states import MachineState, OperationKind, OperationState
from hibernation.models import Machine, Operation
from hibernation.services.transitions import set_machine


def apply_to_spare(operation: Operation, change: SpareChange, now: datetime) -> None:
    """Apply one change to the operation's two machines."""
    match change:
        case SetAside():
            machine = _present(operation.machine)
            set_machine(machine, MachineState.SPARE, now, reason="another is tried beside it")
            operation.machine, operation.spare = None, machine
        case SwapMachines():
            operation.machine, operation.spare = operation.spare, operation.machine
        case TakeSpare():
            operation.machine, operation.spare = _present(operation.spare), None
            if operation.machine.state == MachineState.SPARE:
                set_machine(operation.machine, MachineState.LAUNCHED, now)
        case DismissSpare(reason):
            set_machine(_present(operation.spare), MachineState.DESTROYING, now, reason=reason)
            operation.spare = None
        case ForgetSpare():
            operation.spare = None
        case _:
            assert_never(change)


def in_hands(machines: list[Machine]) -> set[int | None]:
    """Those that a running wake holds."""
    running = Operation.objects.filter(
        Q(machine__in=machines) | Q(spare__in=machines),
        state=OperationState.RUNNING,
        kind=OperationKind.WAKE,
    )
    return {pk for row in running.values_list("machine_id", "spare_id") for pk in row}


def _present(machine: Machine | None) -> Machine:
    if machine is None:
        raise AssertionError("no machine")
    return machine
