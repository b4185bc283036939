"""What travels with the machine that a wake sets aside, and how it comes back. Pure."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from hibernation.domain.facts import Arrival, Facts, Memo
from hibernation.domain.outcomes import Changes, Go, SetMachine, TakeSpare
from hibernation.domain.states import MachineState

_TRAVELS = tuple(field.name for field in fields(Arrival))


def arrival_of(memo: Memo) -> Arrival:
    """What is known of the machine in hand."""
    return Arrival(**_values(memo))


def spare_of(memo: Memo) -> Arrival:
    """What is known of the machine that is not in hand."""
    if memo.spare is None:
        raise AssertionError("no machine was set aside")
    return memo.spare


def swapped(memo: Memo) -> Memo:
    """The spare's knowledge in hand, and the other's set aside."""
    return replace(memo, **_values(spare_of(memo)), spare=arrival_of(memo))


def back(memo: Memo, changes: Changes = ()) -> Go:
    """After ``changes``, which settle the other one, the spare is the only machine: it goes on by its own clock."""
    spare = spare_of(memo)
    alone = replace(memo, **_values(spare), spare=None)
    return Go(spare.stage, (*changes, TakeSpare()), replace(alone, stage="", due_at=0.0))


def launched_again(facts: Facts) -> Changes:
    """The machine in hand is the only one from now on, whichever of the two it was."""
    if facts.machine is None or facts.machine.state is not MachineState.SPARE:
        return ()
    return (SetMachine(MachineState.LAUNCHED),)


def _values(known: Memo | Arrival) -> dict[str, Any]:
    return {name: getattr(known, name) for name in _TRAVELS}
