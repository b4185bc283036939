"""Rentals whose end is not confirmed: told after ten minutes, then daily, with what they may have cost since."""

from __future__ import annotations

from decimal import Decimal

import pytest

from hibernation.domain.errors import ProviderUnavailable
from hibernation.domain.states import InstanceStatus, MachineState
from hibernation.models import Event
from hibernation.services.alarms import alarm_unconfirmed
from hibernation.services.reconcile import reconcile
from hibernation.services.sweep import sweep
from tests.factories import make_instance, make_machine
from tests.hibernation.services.world import World

pytestmark = pytest.mark.django_db


def test_it_is_told_after_ten_minutes_and_then_daily_for_as_long_as_it_takes(world: World) -> None:
    machine = make_machine(None, state=MachineState.DESTROYING, price_per_hour=Decimal("1.2"))
    world.provider.rent(machine.label, contract=machine.contract_id)
    world.provider.destroys_ignored = 99
    for seconds, told in ((599, 0), (2, 1), (80_000, 1), (6_500, 2), (86_401, 3)):
        world.pass_time(seconds)
        sweep()
        assert Event.objects.filter(event_type="still_billing").count() == told
    assert "cost $0.20" in Event.objects.filter(event_type="still_billing").earliest("id").reason


def test_it_is_told_also_while_no_list_can_be_had_and_by_its_instance(world: World) -> None:
    instance = make_instance(status=InstanceStatus.HIBERNATING)
    make_machine(instance, state=MachineState.DESTROYING)
    world.provider.list_error = ProviderUnavailable()
    world.pass_time(601)
    reconcile()
    assert alarm_unconfirmed() == 1
    assert alarm_unconfirmed() == 0
    instance.refresh_from_db()
    assert "is not confirmed" in instance.last_error


def test_a_destroy_that_is_refused_is_asked_for_ever_with_pauses_that_stop_growing(world: World) -> None:
    machine = make_machine(None, state=MachineState.DESTROYING)
    world.provider.rent(machine.label, contract=machine.contract_id)
    world.provider.destroys_refused = 25
    for _ in range(30):
        world.pass_time(301)
        reconcile()
    machine.refresh_from_db()
    assert machine.state == MachineState.DESTROYED
    assert machine.destroy_attempts == 26
