"""Waking where a market misbehaves, on real rows: what is rented, what is sent away, what is remembered of whom."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from pytest_django import Settings

from hibernation.domain.effects import Trial
from hibernation.domain.errors import (
    BadOrder,
    BoxSilent,
    BoxUnreachable,
    KeyRefused,
    LaunchDeferred,
    LaunchLeftover,
    OutOfCredit,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
)
from hibernation.domain.states import InstanceStatus, MachineState, OperationState, Phase
from hibernation.models import Event, Host, Instance, Machine, Operation, Pack
from hibernation.providers.base import SshAddress
from hibernation.services import listing, operations
from hibernation.services.clock import db_now
from hibernation.services.instances import configure
from hibernation.services.orders import set_environment
from tests.factories import make_offer
from tests.hibernation.services.box import FakeBox
from tests.hibernation.services.test_wake import assert_awake, only_ours_bill
from tests.hibernation.services.world import World, assert_consistent, events

pytestmark = pytest.mark.django_db


def phase(world: World, machine: Machine, phase: Phase, **more: object) -> None:
    """From now on the provider says so of it."""
    contract = machine.contract_id or ""
    world.provider.machines[contract] = replace(world.provider.machines[contract], phase=phase, **more)  # type: ignore[arg-type]


def late(operation: Operation, **ago: float) -> None:
    Operation.objects.filter(pk=operation.pk).update(entered_at=db_now() - timedelta(**ago))


def test_a_launch_put_off_twice_is_one_order_and_one_attempt(world: World) -> None:
    instance = world.asleep()
    world.provider.launch_faults = [(LaunchDeferred("in line", 0.2), False)] * 2
    operation = world.run(world.wake(instance))
    assert_awake(world, operation)
    assert [spec.offer.offer_id for spec in world.provider.orders] == ["offer-1"] * 3
    assert len({spec.label for spec in world.provider.orders}) == 1
    assert operation.memo["attempt"] == 1
    assert not Host.objects.exists()


def test_a_worker_killed_in_a_launch_that_had_been_put_off_launches_once(world: World) -> None:
    instance = world.asleep()
    world.provider.launch_faults = [(LaunchDeferred("in line", 0.2), False)]
    operation = world.run(world.wake(instance), until="launch")
    world.step(operation)
    Operation.objects.filter(pk=operation.pk).update(next_attempt_at=db_now())
    claimed = operations.claim(operation.pk, "launch")
    assert isinstance(claimed, operations.Claim)
    operations.perform.perform(operation.pk, claimed.effect)
    world.pass_time(20)
    assert_awake(world, world.run(operation))
    assert len(world.provider.machines) == 1


@pytest.mark.parametrize("error", [BadOrder("no such image"), OutOfCredit("top it up")])
def test_what_no_other_offer_helps_with_ends_the_wake_at_the_first_refusal(
    world: World, error: ProviderError
) -> None:
    instance = world.asleep()
    world.provider.launch_faults = [(error, False)]
    operation = world.run(world.wake(instance))
    instance.refresh_from_db()
    assert (operation.error_code, operation.error) == (error.code, error.message)
    assert instance.status == InstanceStatus.FAILED
    assert len(world.provider.calls("launch")) == 1
    assert not Host.objects.exists()
    assert_consistent(instance)


def test_what_a_failed_launch_left_behind_is_ended_and_billed_till_then(world: World) -> None:
    instance = world.asleep()
    world.provider.rent("leftover", contract="77")
    world.provider.launch_faults = [(LaunchLeftover("it stands still", "77"), False)]
    assert_awake(world, world.run(world.wake(instance)))
    only_ours_bill(world, instance)
    assert instance.machines.get(contract_id="77").state == MachineState.DESTROYED
    assert Host.objects.get().verdict == "failed"
    assert_consistent(instance)


def test_the_order_has_everything_that_the_instance_was_set_to(world: World) -> None:
    instance = world.asleep(image="img:1", ports=[8080], onstart="echo hi")
    set_environment(instance, {"HF_TOKEN": "s3cret"})
    instance.save()
    world.run(world.wake(instance), until="loading")
    order = world.provider.orders[-1]
    assert (order.image, order.ports, order.onstart) == ("img:1", (8080,), "echo hi")
    assert order.env == {"HF_TOKEN": "s3cret", "DUMONT_INSTANCE_ID": instance.pk}


def test_two_wakes_at_once_choose_different_offers(world: World) -> None:
    """Two hundred that chose the same would choose again, all but one."""
    first, second = world.asleep(), world.asleep()
    one = world.run(world.wake(first), until="launch")
    other = world.run(world.wake(second), until="launch")
    assert [wake.memo["offer"]["offer_id"] for wake in (one, other)] == ["offer-1", "offer-2"]


def test_two_wakes_that_chose_the_same_offer_all_the_same_do_not_both_ask_for_it(world: World) -> None:
    first, second = world.asleep(), world.asleep()
    world.provider.launch_faults = [(LaunchDeferred("in line", 30), False)]
    one = world.run(world.wake(first), until="launch")
    other = world.run(world.wake(second), until="launch")
    Operation.objects.filter(pk=other.pk).update(memo={**other.memo, "offer": one.memo["offer"]})
    world.step(one)
    world.run(other, until="loading")
    assert [spec.offer.offer_id for spec in world.provider.orders] == ["offer-1", "offer-2"]


@pytest.mark.parametrize(
    ("listed", "minutes"), [(Phase.FAILED, 0), (Phase.LOADING, 11), (Phase.STOPPED, 1), (Phase.OFFLINE, 6)]
)
def test_a_machine_that_does_not_come_up_is_sent_away_confirmed_gone_and_remembered(
    world: World, listed: Phase, minutes: float
) -> None:
    instance = world.asleep()
    operation = world.run(world.wake(instance), until="loading")
    first = operation.machine
    assert first is not None
    phase(world, first, listed, reason="docker said no")
    world.step(operation)
    if operation.step == "loading":
        world.step(operation)
        late(operation, minutes=minutes)
        memo = {**operation.memo, "phase_at": (db_now() - timedelta(minutes=minutes)).timestamp()}
        Operation.objects.filter(pk=operation.pk).update(memo=memo)
    assert_awake(world, world.run(operation))
    only_ours_bill(world, instance)
    first.refresh_from_db()
    assert first.state == MachineState.DESTROYED
    assert (Host.objects.get().host, Host.objects.get().verdict) == ("host-1", "failed")
    assert "docker said no" in Event.objects.get(event_type="machine_rejected").reason
    assert_consistent(instance)


def test_an_image_that_cannot_be_pulled_costs_one_machine_and_no_host(world: World) -> None:
    instance = world.asleep()
    operation = world.run(world.wake(instance), until="loading")
    assert operation.machine is not None
    phase(world, operation.machine, Phase.FAILED, reason="manifest unknown", is_our_fault=True)
    world.run(operation)
    assert operation.error_code == "image_failed"
    assert "manifest unknown" in operation.error
    only_ours_bill(world, instance)
    assert not Host.objects.exists()


def test_a_start_that_got_lost_is_sent_once(world: World) -> None:
    operation = world.run(world.wake(world.asleep()), until="loading")
    assert operation.machine is not None
    phase(world, operation.machine, Phase.LOADING, needs_start=True)
    world.provider.can_stop = True
    assert_awake(world, world.run(operation))
    assert world.provider.calls("start") == [f"start {operation.machine.contract_id}"]


def test_the_key_is_attached_after_the_launch_and_a_limit_only_delays_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation = world.run(world.wake(world.asleep()), until="loading")

    def refuse(contract_id: str, key: str) -> None:
        raise RateLimited("in line", 33)

    with monkeypatch.context() as patched:
        patched.setattr(world.provider, "attach_key", refuse)
        world.step(operation)
    assert 30 < (operation.next_attempt_at - db_now()).total_seconds() <= 33
    assert_awake(world, world.run(operation))
    assert len(world.provider.calls("attach_key")) == 1


class PickyBox(FakeBox):
    """Answers at one port only; what happens at the others is said by ``elsewhere``."""

    elsewhere: BoxUnreachable = BoxSilent("nothing")
    port = 41022
    tried: list[int] = []

    def run(self, command: str, *, timeout: float, input: str | None = None) -> str:
        row = Machine.objects.filter(contract_id=self.home.name).first()
        asked = self.asked or (row.ssh_port if row else 0)
        if asked != self.port:
            raise self.elsewhere
        return super().run(command, timeout=timeout, input=input)

    asked = 0


@pytest.fixture
def picky(world: World, monkeypatch: pytest.MonkeyPatch) -> Operation:
    """A wake about to reach a machine with a direct and a proxy address."""
    operation = world.run(world.wake(world.asleep()), until="reach")
    machine = operation.machine
    assert machine is not None
    both = (SshAddress("192.0.2.1", 41022), SshAddress("proxy", 10554, via="proxy"))
    phase(world, machine, Phase.RUNNING, ssh=both)
    world.boxes[machine.contract_id or ""] = PickyBox(world.box(machine).home, world.store_root, world.log)
    from hibernation.services.steps import context

    def box_of(row: Machine) -> PickyBox:
        box = world.box(row)
        assert isinstance(box, PickyBox)
        box.asked = row.ssh_port
        return box

    monkeypatch.setattr(context, "box_of", box_of)
    return operation


@pytest.mark.parametrize(("port", "via"), [(41022, "direct"), (10554, "proxy")])
@pytest.mark.parametrize("elsewhere", [BoxSilent("nothing"), BoxUnreachable("refused"), KeyRefused("no")])
def test_the_address_that_lets_us_in_is_kept(
    world: World,
    picky: Operation,
    monkeypatch: pytest.MonkeyPatch,
    port: int,
    via: str,
    elsewhere: BoxUnreachable,
) -> None:
    monkeypatch.setattr(PickyBox, "port", port)
    monkeypatch.setattr(PickyBox, "elsewhere", elsewhere)
    world.step(picky)
    machine = picky.machine
    assert machine is not None
    machine.refresh_from_db()
    assert picky.step == "install"
    assert (machine.ssh_port, machine.ssh_via, machine.host_key) == (port, via, "ssh-ed25519 AAAA")


def test_a_refused_key_is_attached_again_and_nothing_is_pinned(
    world: World, picky: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PickyBox, "port", 1)
    monkeypatch.setattr(PickyBox, "elsewhere", KeyRefused("not yet"))
    world.log.clear()
    world.step(picky)
    machine = picky.machine
    assert machine is not None
    machine.refresh_from_db()
    assert (picky.step, picky.waiting_for) == ("reach", "not yet")
    assert len(world.provider.calls("attach_key")) == 1
    assert (machine.ssh_port, machine.host_key) == (0, "")


def test_a_machine_silent_at_every_address_is_given_a_minute(
    world: World, picky: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PickyBox, "port", 1)
    world.step(picky)
    assert picky.step == "reach"
    memo = {**picky.memo, "silent_at": (db_now() - timedelta(seconds=61)).timestamp()}
    Operation.objects.filter(pk=picky.pk).update(memo=memo)
    world.step(picky)
    assert picky.step == "choose"


def test_what_a_machine_is_stays_on_its_row_and_the_next_is_compared(world: World) -> None:
    instance = world.asleep()
    operation = world.run(world.wake(instance))
    machine = assert_awake(world, operation)
    assert (machine.driver, machine.cuda) == ("570.86", "12.8")
    world.run(world.hibernate(instance))
    operation = world.run(world.wake(instance), until="test")
    assert operation.machine is not None
    world.box(operation.machine).tested = Trial(("",), driver="550.54", cuda="12.8")
    assert_awake(world, world.run(operation))
    told = instance.events.filter(event_type="machine_tested").latest("id")
    assert "driver 550.54 instead of 570.86" in told.reason
    assert told.data["differs"] == ["driver"]


def test_a_slow_machine_is_sent_away_and_its_speed_remembered(world: World) -> None:
    world.provider.offers = [make_offer(n, download_mbps=900.0) for n in range(1, 4)]
    operation = world.run(world.wake(world.asleep()), until="test")
    assert operation.machine is not None
    world.box(operation.machine).tested = Trial(("",), download_mbps=20.0)
    assert_awake(world, world.run(operation))
    host = Host.objects.get()
    assert (host.host, host.verdict, host.download_mbps) == ("host-1", "too_slow", 20.0)


@pytest.mark.parametrize(
    ("size", "limit", "count"), [(9_000_000, None, 1), (100, None, 0), (9_000_000, 50, 0)]
)
def test_the_download_is_measured_on_packs_of_the_workspace(
    world: World, size: int, limit: int | None, count: int
) -> None:
    instance = world.asleep(transfer_limit_mbit=limit)
    biggest = Pack.objects.filter(kind="pack").order_by("-size").first()
    assert biggest is not None
    Pack.objects.filter(pk=biggest.pk).update(size=size)
    operation = world.run(world.wake(instance), until="test")
    world.step(operation)
    assert operation.machine is not None
    asked = world.box(operation.machine).downloads
    assert len(asked) >= count
    if count:
        assert asked[0].size == size
        assert biggest.key in asked[0].url
    else:
        assert asked == []


@pytest.mark.parametrize(("code", "event"), [(0, "hook_ran"), (3, "hook_failed")])
def test_the_hook_runs_after_the_wake_and_never_ends_it(world: World, code: int, event: str) -> None:
    instance = world.asleep(post_wake_hook="make serve")
    operation = world.run(world.wake(instance), until="hook")
    instance.refresh_from_db()
    assert instance.status == InstanceStatus.RUNNING
    assert operation.machine is not None
    world.box(operation.machine).hook_code = code
    assert_awake(world, world.run(operation))
    assert events(instance)[-2:] == ["woke", event]
    assert "hook make serve" in world.log


def test_a_wake_tells_how_long_each_stage_took(world: World) -> None:
    operation = world.run(world.wake(world.asleep()))
    assert operation.state == OperationState.SUCCEEDED
    stages = {"choose", "launch", "loading", "reach", "install", "test", "thaw", "confirm"}
    assert set(operation.result["stages"]) == stages
    assert all(seconds >= 0 for seconds in operation.result["stages"].values())


def test_many_wakes_share_one_list(world: World, settings: Settings) -> None:
    settings.DUMONT_LIST_SHARED = timedelta(seconds=5)
    settings.DUMONT_INSTALLATION = f"test{db_now().timestamp()}"
    contract = world.provider.rent("a")
    world.log.clear()
    for _ in range(5):
        found = listing.find_machine(world.provider, contract)
        assert found is not None
        assert found == world.provider.machines[contract]
        assert listing.find_machine(world.provider, "nobody's") is None
    assert world.provider.calls("list") == ["list"]


def test_lists_that_cost_nothing_are_always_fresh(world: World, settings: Settings) -> None:
    settings.DUMONT_LIST_SHARED = timedelta(seconds=5)
    world.provider.lists_cost = False
    contract = world.provider.rent("a")
    world.log.clear()
    assert listing.find_machine(world.provider, "nobody's") is None
    assert listing.find_machine(world.provider, contract) is not None
    assert world.provider.calls("list") == ["list", "list"]


def test_while_one_takes_the_list_others_use_the_last_one_or_wait(
    world: World, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DUMONT_LIST_SHARED = timedelta(milliseconds=1)
    settings.DUMONT_INSTALLATION = f"test{db_now().timestamp()}"
    contract = world.provider.rent("a")
    taking, go_on = threading.Event(), threading.Event()
    plain = world.provider.list_machines

    def slowly() -> object:
        taking.set()
        go_on.wait(5)
        return plain()

    monkeypatch.setattr(world.provider, "list_machines", slowly)
    thread = threading.Thread(target=listing.find_machine, args=(world.provider, contract))
    thread.start()
    taking.wait(5)
    with pytest.raises(ProviderUnavailable):
        listing.find_machine(world.provider, contract)
    go_on.set()
    thread.join()


def test_a_list_that_failed_is_taken_again_by_the_next(world: World, settings: Settings) -> None:
    settings.DUMONT_LIST_SHARED = timedelta(seconds=5)
    settings.DUMONT_INSTALLATION = f"test{db_now().timestamp()}"
    contract = world.provider.rent("a")
    world.provider.list_error = ProviderUnavailable("down")
    with pytest.raises(ProviderUnavailable, match="down"):
        listing.find_machine(world.provider, contract)
    world.provider.list_error = None
    assert listing.find_machine(world.provider, contract) is not None


def test_the_environment_is_sealed_and_never_told(world: World) -> None:
    instance = world.awake()
    configure(instance.pk, {"env": {"HF_TOKEN": "s3cret"}, "ports": [8080]}, actor="user:ana")
    row = Instance.objects.get(pk=instance.pk)
    assert (row.env_names, row.ports) == (["HF_TOKEN"], [8080])
    assert b"s3cret" not in bytes(row.env_sealed)
    told = row.events.latest("id")
    assert "s3cret" not in f"{told.reason}{told.data}"
