"""The arrows, as drawn: what is not in these lists must not happen."""

from __future__ import annotations

import pytest

from hibernation.domain.states import (
    INSTANCE_ARROWS,
    MACHINE_ARROWS,
    InstanceStatus,
    MachineState,
    machine_may_become,
    may_become,
)

INSTANCE_DRAWING = {
    "provisioning": "running failed released",
    "running": "idle hibernating hibernated failed released",
    "idle": "running hibernating hibernated failed released",
    "hibernating": "running hibernated failed",
    "hibernated": "deleted waking running released",
    "deleted": "waking running released",
    "waking": "running hibernated deleted failed",
    "failed": "waking provisioning running released",
    "released": "provisioning waking",
}
MACHINE_DRAWING = {
    "intended": "launched void abandoned",
    "launched": "active spare destroying lost parked",
    "spare": "launched destroying lost",
    "active": "destroying lost released parked",
    "parked": "launched active destroying destroyed lost released",
    "destroying": "destroyed",
    "destroyed": "destroying",
    "void": "destroying",
    "abandoned": "destroying",
    "lost": "destroying active released",
    "orphan": "destroying destroyed",
    "adopting": "active released",
    "released": "",
}


@pytest.mark.parametrize("old", InstanceStatus)
@pytest.mark.parametrize("new", InstanceStatus)
def test_an_instance_follows_its_arrows_only(old: InstanceStatus, new: InstanceStatus) -> None:
    assert may_become(old, new) is (new.value in INSTANCE_DRAWING[old.value].split())


@pytest.mark.parametrize("old", MachineState)
@pytest.mark.parametrize("new", MachineState)
def test_a_machine_follows_its_arrows_only(old: MachineState, new: MachineState) -> None:
    assert machine_may_become(old, new) is (new.value in MACHINE_DRAWING[old.value].split())


def test_every_state_has_a_row_in_its_table() -> None:
    assert set(INSTANCE_ARROWS) == set(InstanceStatus)
    assert set(MACHINE_ARROWS) == set(MachineState)


def test_a_machine_holding_work_is_destroyed_only_through_destroying() -> None:
    """What a parked one holds is proven elsewhere."""
    assert [old for old in MachineState if MachineState.DESTROYED in MACHINE_ARROWS[old]] == [
        MachineState.DESTROYING,
        MachineState.ORPHAN,
        MachineState.PARKED,
    ]
