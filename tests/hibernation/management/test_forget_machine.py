"""``manage.py forget_machine``: nothing is discarded without saying so."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from hibernation.domain.states import MachineState
from tests.hibernation.services.world import World

pytestmark = pytest.mark.django_db


def test_it_wants_to_be_told_that_work_is_lost(world: World) -> None:
    machine = world.awake().machines.get()
    with pytest.raises(CommandError, match="--discard-work"):
        call_command("forget_machine", machine.contract_id)
    out = StringIO()
    call_command("forget_machine", machine.contract_id, "--discard-work", stdout=out)
    machine.refresh_from_db()
    assert machine.state == MachineState.DESTROYING
    assert "is being ended" in out.getvalue()


def test_it_says_why_not(world: World) -> None:
    with pytest.raises(CommandError, match="No machine 5"):
        call_command("forget_machine", "5", "--discard-work")
