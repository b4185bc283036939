"""Faults of a machine that holds a workspace: it may be the only copy, so nothing that happens to it ends it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from hibernation.domain.states import InstanceStatus, OperationKind
from hibernation.models import Event, Instance
from tests.fakes.vast.contracts import Contract
from tests.hibernation.services.box import tree
from tests.market.harness import Market

pytestmark = [pytest.mark.django_db, pytest.mark.network]

HOUR = 3600.0


def told(instance: Instance) -> list[str]:
    """What became known of the instance since its first wake."""
    names = list(instance.events.order_by("id").values_list("event_type", flat=True))
    return names[names.index("registered", 1) + 1 :]


def only_contract(market: Market) -> Contract:
    (contract,) = market.ours().values()
    return contract


@pytest.mark.parametrize("fault", ["status_unknown", "status_lags", "disk_smaller", "slow_network"])
def test_a_heartbeat_outranks_what_the_market_says(market: Market, fault: str) -> None:
    instance = market.awake()
    market.fake.faults.arm(fault)
    market.advance(600)
    instance.refresh_from_db()
    assert (instance.status, told(instance), len(market.billed())) == ("running", [], 1)


@pytest.mark.parametrize("fault", ["outbid", "host_stops"])
def test_a_machine_that_was_stopped_and_not_by_us_is_started_again(market: Market, fault: str) -> None:
    instance = market.awake()
    before = tree(market.box(instance).workspace)
    market.fake.faults.arm(fault)
    market.advance(HOUR)
    instance.refresh_from_db()
    assert told(instance) == ["machine_stopped", "machine_started", "machine_returned"]
    assert (instance.status, len(market.ours()), len(market.billed())) == ("running", 1, 1)
    assert tree(market.box(instance).workspace) == before


def test_a_host_that_goes_offline_is_waited_for(market: Market) -> None:
    instance = market.awake()
    market.fake.faults.arm("goes_offline", seconds=1800.0)
    market.advance(HOUR)
    assert told(instance) == ["machine_offline", "machine_returned"]
    assert (len(market.ours()), len(market.billed())) == (1, 1)


def test_a_host_that_is_offline_for_ever_keeps_its_contract(market: Market) -> None:
    instance = market.awake()
    market.fake.faults.arm("goes_offline", seconds=None)
    market.advance(HOUR)
    assert told(instance) == ["machine_offline"]
    assert (len(market.ours()), len(market.billed())) == (1, 1)


def test_a_machine_whose_gpu_was_let_is_started_when_it_is_free(market: Market) -> None:
    instance = market.awake()
    market.fake.faults.arm("gpu_let_on_stop")
    market.fake.faults.arm("host_stops")
    market.advance(HOUR)
    contract = only_contract(market)
    assert (contract.cur, contract.queued_from) == ("stopped", None)
    market.fake.market.let_to_others(contract.offer["machine_id"], 0)
    market.advance(HOUR)
    assert told(instance) == ["machine_stopped", "machine_started", "machine_returned"]
    assert len(market.billed()) == 1


def test_a_start_that_was_queued_never_runs_behind_our_back(market: Market) -> None:
    instance = market.awake()
    market.fake.faults.arm("start_queued", times=2)
    market.fake.faults.arm("host_stops")
    market.advance(600)
    contract = only_contract(market)
    assert (contract.cur, contract.queued_from) == ("stopped", None)
    market.advance(HOUR)
    assert told(instance) == ["machine_stopped", "machine_started", "machine_returned"]


def test_a_machine_that_is_frozen_for_ever_ends_in_an_alarm_and_not_in_a_loss(market: Market) -> None:
    instance = market.awake()
    market.fake.faults.arm("frozen")
    market.advance(3 * HOUR)
    assert told(instance)[:2] == ["machine_stopped", "machine_started"]
    assert told(instance)[-1] == "still_billing"
    assert (len(market.ours()), len(market.billed())) == (1, 1)


def test_a_machine_that_vanished_without_a_copy_is_told_as_a_loss(market: Market) -> None:
    instance = market.awake()
    market.fake.faults.arm("vanished")
    market.advance(600)
    instance.refresh_from_db()
    assert (instance.status, told(instance), market.billed()) == ("failed", ["machine_lost"], ())


def test_a_workspace_with_a_copy_wakes_elsewhere_when_its_machine_vanished(market: Market) -> None:
    instance = market.asleep()
    market.wake(instance)
    market.run_until_idle()
    before = tree(market.box(instance).workspace)
    market.fake.faults.arm("vanished")
    market.advance(600)
    instance.refresh_from_db()
    assert instance.status == InstanceStatus.HIBERNATED
    operation = market.wake(instance)
    market.run_until_idle()
    report = market.report(operation)
    assert (report.state, report.rented, len(report.billed)) == ("succeeded", 3, 1)
    assert tree(market.box(instance).workspace) == before


def test_a_rental_that_ends_soon_is_saved_and_given_back(market: Market) -> None:
    instance = market.awake()
    contract = only_contract(market)
    contract.end_date = market.clock.now() + HOUR
    market.box(instance).load = 0.0
    market.advance(0.5 * HOUR)
    instance.refresh_from_db()
    assert (instance.status, market.billed()) == ("hibernated", ())
    assert "rental_ends" in told(instance)


def test_work_on_a_rental_that_ends_is_saved_again_and_again_and_given_back_in_time(market: Market) -> None:
    instance = market.awake()
    contract = only_contract(market)
    contract.end_date = market.clock.now() + HOUR
    contract.end_date += 0.9 * HOUR
    market.advance(0.5 * HOUR)
    instance.refresh_from_db()
    assert instance.status == InstanceStatus.RUNNING
    assert instance.snapshots.filter(state="verified").count() >= 2
    market.advance(HOUR)
    instance.refresh_from_db()
    assert (instance.status, market.billed()) == ("hibernated", ())


def test_a_rental_that_ended_without_a_word_keeps_its_disk_for_two_days_and_is_lost_then(
    market: Market,
) -> None:
    instance = market.awake()
    contract = only_contract(market)
    # Its host gave the GPU to nobody, and the market starts no contract that is over.
    market.fake.market.let_to_others(contract.offer["machine_id"], 99)
    market.fake.faults.arm("end_date_reached")
    market.advance(HOUR)
    assert "machine_stopped" in told(instance)
    assert len(market.billed()) == 1
    market.clock.advance(48 * HOUR)
    market.advance(600)
    instance.refresh_from_db()
    assert (instance.status, market.billed()) == ("failed", ())
    assert "machine_lost" in told(instance)


def test_a_price_that_rises_is_told_and_too_dear_a_machine_is_given_back_when_idle(market: Market) -> None:
    instance = market.awake()
    (machine,) = market.machines()
    Instance.objects.filter(pk=instance.pk).update(max_price=machine.price_per_hour)
    market.fake.faults.arm("price_rise", factor=2.0, seconds=60.0)
    market.advance(HOUR)
    assert "price_rose" in told(instance)
    instance.refresh_from_db()
    assert instance.status == InstanceStatus.RUNNING
    market.box(instance).load = 0.0
    market.advance(600)
    instance.refresh_from_db()
    assert (instance.status, market.billed()) == ("hibernated", ())


def test_a_pending_price_rise_is_told_within_a_day(market: Market) -> None:
    instance = market.awake()
    market.fake.faults.arm("price_rise", factor=2.0, seconds=5 * 24 * HOUR)
    market.clock.advance(25 * HOUR)
    market.advance(300)
    assert "price_rose" in told(instance)


def test_keys_that_vanish_do_not_keep_a_workspace_from_being_saved(market: Market) -> None:
    instance = market.awake()
    market.fake.faults.arm("ssh_keys_vanish")
    market.advance(60)
    operation = market.hibernate(instance)
    market.run_until_idle()
    report = market.report(operation)
    assert (report.state, report.status, report.billed) == ("succeeded", "hibernated", ())


def test_work_is_saved_before_the_credit_ends(market: Market) -> None:
    instance = market.awake()
    (machine,) = market.machines()
    market.fake.market.set_credit(float(machine.price_per_hour) * 2.5)
    market.advance(HOUR)
    instance.refresh_from_db()
    assert Event.objects.filter(event_type="credit_low").exists()
    assert (instance.status, instance.snapshot is not None) == ("running", True)
    market.advance(HOUR)
    instance.refresh_from_db()
    assert instance.operations.filter(kind=OperationKind.HIBERNATE, state="succeeded").exists()
    assert (instance.status, market.billed()) == ("hibernated", ())


def test_a_silent_agent_on_lists_that_lie_is_not_a_lost_machine_for_long(market: Market) -> None:
    instance = market.awake()
    market.box(instance).reports = False
    market.fake.faults.arm("list_empty", times=6)
    market.advance(240)
    market.box(instance).reports = True
    market.advance(600)
    instance.refresh_from_db()
    assert (instance.status, len(market.billed()), len(market.ours())) == ("running", 1, 1)
    assert told(instance) == ["machine_lost", "machine_returned"]
    assert instance.last_heartbeat_at is not None
    assert market.clock.moment() - instance.last_heartbeat_at < timedelta(minutes=2)
