"""Hypothesis lets people, machines, the market's faults and dying workers act in any order on the real services, the
real client and real snapshots. What breaks a promise is told as the story that led to it."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack, suppress
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import pytest
from django.conf import settings as configured
from django.db import transaction
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from pytest_django import Settings

from hibernation.domain.errors import DumontError
from hibernation.domain.states import EventType, InstanceStatus, MachineState, OperationState
from hibernation.models import Event, Instance, Machine, Operation
from hibernation.services.boundaries import Boundary
from hibernation.snapshots.registry import get_store
from tests.fakes.vast.faults import RUNNING
from tests.hibernation.services.box import tree
from tests.hibernation.services.world import assert_consistent
from tests.market.box import MarketBox
from tests.market.harness import Market, opened

pytestmark = [pytest.mark.django_db, pytest.mark.network]

UP = (InstanceStatus.RUNNING, InstanceStatus.IDLE)
HELD = (
    MachineState.INTENDED,
    MachineState.LAUNCHED,
    MachineState.SPARE,
    MachineState.ACTIVE,
    MachineState.PARKED,
)
MOST_INSTANCES = 3
LONG_ENOUGH = 1500.0
"""For lists that lied, launches in doubt and orphans: after that nothing is in doubt any more."""
STEPS = (
    "choose",
    "launch",
    "loading",
    "race",
    "resume",
    "reach",
    "install",
    "test",
    "thaw",
    "freeze",
    "verify",
    "fence",
    "destroy",
)
ANYWHERE = ("rate_limited", "dropped", "response_lost", "bad_gateway_after", "server_error", "auth_404")
CALLS = ("search", "create", "list", "destroy", "attach", "update")
# All but those that last for ever, or until tomorrow.
FAULTS = (
    *(
        "list_empty",
        "list_cut",
        "list_410",
        "offer_gone_410",
        "gpu_unavailable",
        "create_false",
        "create_leftover",
    ),
    *("insufficient_credit", "spend_rate_limit", "create_422", "slow_boot", "loading_forever", "boot_abort"),
    *(
        "image_pull_denied",
        "create_start_race",
        "ssh_refused",
        "ssh_direct_silent",
        "ssh_silent",
        "ssh_auth_fails",
    ),
    *(
        "ssh_keys_vanish",
        "slow_network",
        "goes_offline",
        "status_unknown",
        "status_lags",
        "outbid",
        "host_stops",
    ),
    *("vanished", "price_higher", "price_rise", "gpu_let_on_stop", "start_queued", "destroy_ignored"),
    *("destroy_row_remains", "status_strange"),
)


class Customers(RuleBasedStateMachine):
    """One market, a few instances. ``homes``: the contract each workspace was last seen on."""

    _settings: ClassVar[Settings]

    @initialize()
    def open(self) -> None:
        self._stack = ExitStack()
        self._stack.enter_context(transaction.atomic())
        self._stack.callback(transaction.set_rollback, True)
        patch = self._stack.enter_context(pytest.MonkeyPatch.context())
        root = Path(self._stack.enter_context(TemporaryDirectory()))
        self.market: Market = self._stack.enter_context(opened(root, patch, self._settings))
        self._settings.DUMONT_HEDGE_MOST_USD = Decimal("0.25")
        self._stack.callback(get_store.cache_clear)
        self.names: list[str] = []
        self.homes: dict[str, str] = {}
        self.writes = 0
        self.stranger = self.market.fake.rent(label="my own")

    # People

    @precondition(lambda self: len(self.names) < MOST_INSTANCES)
    @rule(warm=st.sampled_from((0, 5)))
    def somebody_wants_a_machine(self, warm: int) -> None:
        """``warm``: minutes that its machine is kept, stopped, after it was saved."""
        instance = self.market.create()
        Instance.objects.filter(pk=instance.pk).update(warm_minutes=warm)
        self.names.append(instance.pk)
        self._order(self.market.wake, instance)

    @precondition(lambda self: self.names)
    @rule(which=st.integers(0, 9), wakes=st.booleans())
    def somebody_gives_an_order(self, which: int, wakes: bool) -> None:
        self._order(self.market.wake if wakes else self.market.hibernate, self._instance(which))

    @precondition(lambda self: self.names)
    @rule(which=st.integers(0, 9))
    def somebody_works(self, which: int) -> None:
        """Writes a file and leaves the GPU busy; whoever is paused cannot write."""
        box = self._box(self._instance(which))
        if box is None or box.paused:
            return
        self.writes += 1
        box.load = 90.0
        (box.workspace / f"work-{self.writes}").write_text(str(self.writes))

    @precondition(lambda self: self.names)
    @rule(which=st.integers(0, 9))
    def a_gpu_idles(self, which: int) -> None:
        box = self._box(self._instance(which))
        if box is not None:
            box.load = 0.0

    # The world

    @rule(fault=st.sampled_from(FAULTS), times=st.integers(1, 2))
    def the_market_misbehaves(self, fault: str, times: int) -> None:
        ours = {"label": f"{configured.DUMONT_LABEL_PREFIX}*"} if fault in RUNNING else {}
        self.market.fake.faults.arm(fault, times=times, where=ours)

    @rule(fault=st.sampled_from(ANYWHERE), call=st.sampled_from(CALLS), times=st.integers(1, 3))
    def calls_go_wrong(self, fault: str, call: str, times: int) -> None:
        self.market.fake.faults.arm(fault, times=times, where={"call": call})

    @rule(step=st.sampled_from(STEPS), boundary=st.sampled_from((Boundary.CLAIMED, Boundary.PERFORMED)))
    def a_worker_will_die(self, step: str, boundary: Boundary) -> None:
        self.market.crashes.append((step, boundary))

    @rule(seconds=st.sampled_from((3.0, 20.0, 60.0, 250.0, 900.0)))
    def time_passes(self, seconds: float) -> None:
        self.market.advance(seconds)

    # What must hold

    @invariant()
    def no_label_rents_twice(self) -> None:
        if hasattr(self, "market"):
            labels = Counter(one.label for one in self.market.ours().values())
            assert max(labels.values(), default=1) == 1, labels

    @invariant()
    def a_wake_holds_two_machines_at_most(self) -> None:
        for name in getattr(self, "names", ()):
            held = Machine.objects.filter(instance=name, state__in=HELD)
            bills = [number for number in held.values_list("contract_id", flat=True) if number]
            assert len(bills) <= (2 if held.filter(state=MachineState.SPARE).exists() else 1)

    @invariant()
    def every_rental_is_known(self) -> None:
        """By its label, from before it was ordered: what bills is held, looked for, or being ended."""
        if hasattr(self, "market"):
            labels = set(Machine.objects.values_list("label", flat=True))
            assert {one.label for one in self.market.ours().values()} <= labels

    @invariant()
    def workspaces_come_back_as_they_went(self) -> None:
        for name in getattr(self, "names", ()):
            self._check_home(name)

    def teardown(self) -> None:
        if not hasattr(self, "market"):
            return
        with self._stack:
            self._calm_down()
            self._check_the_end()

    def _calm_down(self) -> None:
        """No more faults, everybody works, and time for everything to be found out."""
        market = self.market
        market.fake.faults.disarm()
        market.crashes.clear()
        for contract in list(market.fake.contracts):
            market.fake.market.heal(contract)
        for box in market.boxes.values():
            box.load = 90.0
        market.run_until_idle()
        market.advance(LONG_ENOUGH)
        market.run_until_idle()

    def _check_the_end(self) -> None:
        market = self.market
        held = {machine.contract_id for machine in market.machines()}
        assert {str(contract) for contract in market.billed()} == held, self._told()
        assert self.stranger.id in market.fake.contracts
        assert not Operation.objects.filter(
            state__in=(OperationState.QUEUED, OperationState.RUNNING)
        ).exists()
        for instance in Instance.objects.all():
            holds = instance.machines.filter(state=MachineState.ACTIVE).count()
            assert holds == 1 or instance.status not in UP, self._told()
            assert holds == 0 or instance.status in (*UP, InstanceStatus.FAILED), self._told()
            assert_consistent(instance)
            self._check_home(instance.pk)

    def _check_home(self, name: str) -> None:
        """What an instance wakes with on another machine is what its last one held, unless that one was lost."""
        machine = Machine.objects.filter(instance=name, state=MachineState.ACTIVE).first()
        if machine is None or machine.contract_id is None:
            return
        before = self.homes.get(name)
        self.homes[name] = machine.contract_id
        if before in (None, machine.contract_id) or self._is_lost(name, before):
            return
        old, new = self.market.boxes[before], self.market.boxes[machine.contract_id]
        assert tree(new.workspace) == tree(old.workspace)

    def _is_lost(self, name: str, contract: str) -> bool:
        told = Event.objects.filter(instance=name)
        gone = told.filter(event_type=EventType.MACHINE_LOST) | told.filter(data__code="machine_lost")
        return gone.filter(timestamp__gte=Machine.objects.get(contract_id=contract).intended_at).exists()

    def _told(self) -> str:
        events = Event.objects.order_by("id").values_list("instance", "event_type", "reason")
        lines = [" ".join(str(part) for part in event) for event in events]
        machines = [f"{m.contract_id} {m.state}: {m.state_reason}" for m in Machine.objects.order_by("id")]
        return "\n".join([self.market.describe(), *machines, *lines])

    def _instance(self, which: int) -> Instance:
        return Instance.objects.get(pk=self.names[which % len(self.names)])

    def _box(self, instance: Instance) -> MarketBox | None:
        """Where somebody can work now: a machine that holds the workspace and is up."""
        machine = instance.machines.filter(state=MachineState.ACTIVE).first()
        contract = self.market.fake.contracts.get(int(machine.contract_id or 0)) if machine else None
        up = contract is not None and contract.up and contract.actual == "running"
        return self.market.box(machine) if machine and up else None

    def _order(self, order: object, instance: Instance) -> None:
        with suppress(DumontError):
            order(instance)  # type: ignore[operator]


@pytest.mark.timeout(600)
def test_no_order_of_events_loses_work_or_leaves_a_machine_behind(settings: Settings, db: None) -> None:
    Customers._settings = settings
    run_state_machine_as_test(Customers, settings=PLENTY)


PLENTY = settings(
    phases=(Phase.generate,),
    max_examples=8,
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
