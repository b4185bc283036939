"""Machines whose rental, money or allowed price ends: saved while they work, given back in time."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from hibernation.domain.giving_back import LAST, SOON
from hibernation.domain.states import CreditLevel, InstanceStatus, OperationKind
from hibernation.models import Instance, Machine, Operation, ProviderAccount
from hibernation.services.clock import db_now
from hibernation.services.giving_back import give_back
from hibernation.services.reconcile import reconcile
from hibernation.services.sweep import sweep
from tests.factories import PROVIDER, idle_for, make_snapshot
from tests.hibernation.services.world import World, assert_consistent, events

pytestmark = pytest.mark.django_db


def ending(world: World, left: timedelta, **more: Any) -> Instance:
    instance = world.awake(**more)
    instance.machines.update(ends_at=db_now() + left)
    return instance


def idle(**more: Any) -> dict[str, Any]:
    return idle_for(1) | {"precopy_enabled": False} | more


def short(level: CreditLevel) -> None:
    ProviderAccount.objects.update_or_create(
        provider=PROVIDER, defaults={"level": level, "credit": Decimal(1), "credit_at": db_now()}
    )


def began(instance: Instance) -> list[tuple[str, bool]]:
    return list(instance.operations.order_by("id").values_list("kind", "forced"))


def test_a_rental_that_lasts_is_let_be(world: World) -> None:
    ending(world, SOON + timedelta(minutes=1), **idle())
    assert give_back() == 0


def test_an_idle_machine_is_hibernated_two_hours_before_the_end(world: World) -> None:
    instance = ending(world, SOON - timedelta(minutes=1), **idle())
    assert give_back() == 1
    assert give_back() == 0
    assert began(instance) == [("hibernate", False)]
    assert events(instance) == ["rental_ends", "hibernate_started"]
    assert "the rental ends in" in instance.operations.get().reason
    assert_consistent(instance)


def test_work_is_told_and_saved_every_so_often_until_the_end_is_near(world: World) -> None:
    instance = ending(world, SOON - timedelta(minutes=1))
    assert give_back() == 0
    instance.machines.update(activated_at=db_now() - timedelta(minutes=16))
    assert give_back() == 1
    assert began(instance) == [("snapshot", True)]
    assert give_back() == 0
    assert events(instance).count("rental_ends") == 1


def test_near_the_end_work_is_hibernated_too(world: World) -> None:
    instance = ending(world, LAST - timedelta(minutes=1))
    assert sweep() == 1
    assert began(instance) == [("hibernate", True)]
    operation = world.run(instance.operations.get())
    assert operation.state == "succeeded", operation.error
    assert_consistent(instance)


def test_who_forbids_that_keeps_working_to_the_end(world: World) -> None:
    instance = ending(world, LAST - timedelta(minutes=1), hibernate_busy_at_the_end=False)
    instance.machines.update(activated_at=db_now() - timedelta(hours=1))
    assert give_back() == 1
    assert began(instance) == [("snapshot", True)]
    assert "what was not saved by then is lost" in instance.events.get(event_type="rental_ends").reason


def test_with_automatic_hibernation_off_idleness_is_no_reason(world: World) -> None:
    instance = ending(world, SOON - timedelta(minutes=1), **idle(auto_hibernation_enabled=False))
    assert give_back() == 0
    assert events(instance) == ["rental_ends"]


def test_an_order_waits_for_the_snapshot_that_runs(world: World) -> None:
    instance = ending(world, SOON - timedelta(minutes=1))
    instance.machines.update(activated_at=db_now() - timedelta(hours=1))
    give_back()
    instance.machines.update(ends_at=db_now() + LAST)
    give_back()
    give_back()
    states = list(instance.operations.order_by("id").values_list("kind", "state"))
    assert states == [("snapshot", "running"), ("hibernate", "queued")]


def test_what_just_failed_is_not_tried_again_at_once(world: World) -> None:
    instance = ending(world, LAST, hold_until=db_now() + timedelta(minutes=5))
    assert give_back() == 0
    assert began(instance) == []


def test_a_machine_that_stands_still_is_not_ordered_to_save(world: World) -> None:
    instance = ending(world, LAST)
    instance.machines.update(down_since=db_now())
    assert give_back() == 0


def test_an_extended_rental_is_told_anew(world: World) -> None:
    instance = ending(world, SOON, hibernate_busy_at_the_end=False)
    give_back()
    contract = instance.machines.get().contract_id or ""
    for hours in (9, 1):
        world.provider.show(contract, ends_at=db_now() + timedelta(hours=hours))
        reconcile()
        give_back()
    assert events(instance).count("rental_ends") == 2


@pytest.mark.parametrize(
    ("level", "kind", "forced"),
    [(CreditLevel.FLOOR, OperationKind.SNAPSHOT, True), (CreditLevel.END, OperationKind.HIBERNATE, True)],
)
def test_credit_that_ends_saves_work_and_at_last_gives_it_back(
    world: World, level: CreditLevel, kind: OperationKind, forced: bool
) -> None:
    instance = world.awake()
    instance.machines.update(activated_at=db_now() - timedelta(hours=1))
    short(level)
    assert give_back() == 1
    assert began(instance) == [(kind, forced)]
    assert "are left with" in instance.operations.get().reason


def test_at_the_floor_what_idles_is_hibernated_at_once(world: World) -> None:
    instance = world.awake(**idle())
    short(CreditLevel.FLOOR)
    give_back()
    assert began(instance) == [("hibernate", False)]


def test_credit_that_is_only_low_touches_nothing(world: World) -> None:
    world.awake(**idle())
    short(CreditLevel.LOW)
    assert give_back() == 0


@pytest.mark.parametrize("is_idle", [True, False])
def test_one_that_costs_more_than_allowed_is_given_back_when_it_idles(world: World, is_idle: bool) -> None:
    instance = world.awake(max_price=Decimal("0.4"), **(idle() if is_idle else {}))
    Machine.objects.update(price_now=Decimal("0.41"), activated_at=db_now() - timedelta(hours=1))
    give_back()
    assert began(instance) == ([("hibernate", False)] if is_idle else [])


def test_a_copy_that_is_fresh_need_not_be_made(world: World) -> None:
    instance = world.awake()
    instance.machines.update(activated_at=db_now() - timedelta(hours=1))
    make_snapshot(instance)
    short(CreditLevel.FLOOR)
    assert give_back() == 0
    assert not Operation.objects.exists()
    assert instance.status == InstanceStatus.RUNNING
