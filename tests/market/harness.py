"""The real services and the real vast.ai client against the fake market, in one process and one time that never sleeps.

Workers, sweep, reconciler and agents take their turns in the order of their due times; what lies between is skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as configured
from django.db.models import Q
from django.db.models.functions import Now
from pytest_django import Settings
from redis import Redis

from hibernation.domain.states import InstanceStatus, MachineState, OperationState
from hibernation.models import Event, Instance, Machine, Operation
from hibernation.providers import vast
from hibernation.providers.accounts import redis_from_url
from hibernation.providers.limiter import Limiter
from hibernation.providers.shelf import Shelf
from hibernation.providers.vast import VastProvider
from hibernation.providers.vast.client import VastClient
from hibernation.providers.vast.limits import LIMITS
from hibernation.services import operations
from hibernation.services import reconcile as reconciling
from hibernation.services.boundaries import Boundary
from hibernation.services.instances import register_instance
from hibernation.services.requests import request_hibernate, request_wake
from hibernation.services.steps import arriving, boxes, context
from hibernation.services.sweep import sweep
from tests.fakes.vast import VastFake
from tests.fakes.vast.contracts import Contract
from tests.hibernation.services.world import World, make_world
from tests.market.box import MarketBox
from tests.market.clock import SharedClock

ACTOR = "user:ana"
SWEEP_SECONDS, RECONCILE_SECONDS, BEAT_SECONDS = 30.0, 30.0, 30.0
# Seconds of ours for one of the market's: its waits pass, and nobody sleeps.
_SCALE = 0.0005
_LONGEST_SECONDS = 8 * 3600.0
_RESTLESS = (
    MachineState.INTENDED,
    MachineState.LAUNCHED,
    MachineState.SPARE,
    MachineState.DESTROYING,
    MachineState.ORPHAN,
)
_CONFIRMING_LISTS = 4


class Crash(Exception):
    """The worker died here."""


@dataclass(frozen=True, slots=True)
class Report:
    """How an operation ended, and what the market says: contracts that were ever ours, that bill now, USD in all."""

    state: str
    error_code: str
    status: str
    events: tuple[str, ...]
    rented: int
    billed: tuple[int, ...]
    usd: float


@dataclass
class Market:
    """``crashes``: at these boundaries of these steps the worker dies, once each."""

    world: World
    fake: VastFake
    clock: SharedClock
    boxes: dict[str, MarketBox] = field(default_factory=dict)
    crashes: list[tuple[str, Boundary]] = field(default_factory=list)
    lists: int = 0
    due: dict[str, float] = field(default_factory=dict)
    _names: int = 0

    # What users ask for

    def create(self, **more: Any) -> Instance:
        """A registered instance without a machine."""
        self._names += 1
        order = {"gpu_type": "RTX 3090", "image": "image:1", "disk_gb": 20} | more
        return register_instance(f"work-{self._names}", provider="vast", actor=ACTOR, **order)

    def awake(self, **more: Any) -> Instance:
        """An instance on a machine of the market, with two files in its workspace."""
        instance = self.create(**more)
        self.wake(instance)
        self.run_until_idle()
        instance.refresh_from_db()
        assert instance.status == InstanceStatus.RUNNING, instance.last_error
        workspace = self.box(instance).workspace
        (workspace / "notes.txt").write_text("hello")
        (workspace / "model.bin").write_bytes(bytes(range(256)) * 300)
        return instance

    def asleep(self, **more: Any) -> Instance:
        """An instance whose workspace was saved and whose machine has ended."""
        instance = self.awake(**more)
        self.hibernate(instance)
        self.run_until_idle()
        instance.refresh_from_db()
        assert instance.status == InstanceStatus.HIBERNATED, instance.last_error
        return instance

    def wake(self, instance: Instance, **more: Any) -> Operation:
        return request_wake(instance.pk, actor=ACTOR, reason="asked", **more)

    def hibernate(self, instance: Instance, **more: Any) -> Operation:
        return request_hibernate(instance.pk, actor=ACTOR, reason="asked", **more)

    def first_wake(self, **more: Any) -> Report:
        """A fresh instance and its first machine, to the end."""
        operation = self.wake(self.create(**more))
        self.run_until_idle()
        return self.report(operation)

    # Time

    def run_until_idle(self, most: float = _LONGEST_SECONDS) -> None:
        """Until no operation runs and no machine is on its way up or down, and some lists later still."""
        end, quiet = self.clock.now() + most, 0
        while quiet < _CONFIRMING_LISTS:
            before = self.lists
            self._next(end)
            quiet = 0 if self._is_restless() else quiet + self.lists - before
            if self.clock.now() >= end:
                raise AssertionError(f"after {most:.0f} s still: {self.describe()}")

    def run_until(self, operation: Operation, step: str, most: float = 7200.0) -> None:
        """Until ``operation`` is about to take ``step``, or has ended."""
        end = self.clock.now() + most
        while True:
            operation.refresh_from_db()
            if operation.step == step or operation.state != OperationState.RUNNING:
                return
            assert self.clock.now() < end, self.describe()
            self._next(end, chain=False)

    def advance(self, seconds: float) -> None:
        """Everything that falls due in that time happens at its moment."""
        end = self.clock.now() + seconds
        while self.clock.now() < end:
            self._next(end)

    def _next(self, end: float, *, chain: bool = True) -> None:
        """All that is due now, then the time of what comes next."""
        self._work(chain=chain)
        for name, every, act in (
            ("sweep", SWEEP_SECONDS, sweep),
            ("reconcile", RECONCILE_SECONDS, self._reconcile),
        ):
            if self.due.setdefault(name, self.clock.now()) <= self.clock.now():
                self.due[name] = self.clock.now() + every
                act()
        self._beat()
        if not self._due_operations().exists():
            beats = [box.beat_at for box in self.boxes.values() if box.reports_now]
            moments = [*self.due.values(), *beats, *self._moments(), end]
            self.fake.advance(max(0.05, min(moments) - self.clock.now()))

    def _work(self, *, chain: bool) -> None:
        for operation_id, step in list(self._due_operations().values_list("pk", "step")):
            self.run_step(operation_id, step, chain=chain)

    def run_step(self, operation_id: int, step: str, *, chain: bool = True) -> None:
        """As a worker does: this step, and the next ones as long as they follow at once."""
        try:
            while operations.run_step(operation_id, step) and chain:
                step = Operation.objects.values_list("step", flat=True).get(pk=operation_id)
        except Crash:
            return

    def _due_operations(self) -> Any:
        free = Q(lease_until__isnull=True) | Q(lease_until__lte=Now())
        return Operation.objects.filter(
            free, state=OperationState.RUNNING, next_attempt_at__lte=Now()
        ).order_by("next_attempt_at", "pk")

    def _moments(self) -> Iterator[float]:
        rows = Operation.objects.filter(state=OperationState.RUNNING)
        for attempt, lease in rows.values_list("next_attempt_at", "lease_until"):
            yield max(attempt, lease or attempt).timestamp()

    def _beat(self) -> None:
        for box in self.boxes.values():
            if box.beat_at <= self.clock.now() and box.reports_now:
                box.beat_at = self.clock.now() + BEAT_SECONDS
                box.beat(self.clock.moment())

    def _reconcile(self) -> None:
        self.lists += 1
        reconciling.reconcile()

    def _is_restless(self) -> bool:
        working = Operation.objects.filter(state__in=(OperationState.RUNNING, OperationState.QUEUED))
        return working.exists() or Machine.objects.filter(state__in=_RESTLESS).exists()

    # What became of it

    def box(self, of: Machine | Instance) -> MarketBox:
        """The box of a machine, called at the address that its row has now; or of an instance's newest machine."""
        row = of if isinstance(of, Machine) else of.machines.order_by("-id").first()
        assert row is not None
        assert row.contract_id is not None
        if row.contract_id not in self.boxes:
            home = self.world.root / "machines" / row.contract_id
            self.boxes[row.contract_id] = MarketBox(
                home, self.world.store_root, self.world.log, fake=self.fake, contract_id=int(row.contract_id)
            )
        box = self.boxes[row.contract_id]
        box.port = row.ssh_port or 0
        return box

    def billed(self) -> tuple[int, ...]:
        """Our contracts that cost money now."""
        ours = self.ours()
        return tuple(contract for contract in self.fake.billed() if contract in ours)

    def ours(self) -> dict[int, Contract]:
        """Every contract that was ever rented under a label of ours."""
        everything = {**self.fake.market.ended, **self.fake.contracts}
        prefix = configured.DUMONT_LABEL_PREFIX
        return {number: one for number, one in everything.items() if (one.label or "").startswith(prefix)}

    def machines(self) -> list[Machine]:
        """Those that an instance lives on."""
        return list(Machine.objects.filter(state=MachineState.ACTIVE).order_by("id"))

    def report(self, operation: Operation) -> Report:
        operation.refresh_from_db()
        instance = Instance.objects.get(pk=operation.instance_id)
        told = Event.objects.filter(instance=instance, timestamp__gte=operation.created_at).order_by("id")
        return Report(
            state=operation.state,
            error_code=operation.error_code,
            status=instance.status,
            events=tuple(told.values_list("event_type", flat=True)),
            rented=len(self.ours()),
            billed=self.billed(),
            usd=self.fake.market.spent(),
        )

    def describe(self) -> str:
        """What goes on, for a failing test."""
        running = Operation.objects.filter(state__in=(OperationState.RUNNING, OperationState.QUEUED))
        machines = Machine.objects.filter(state__in=_RESTLESS)
        told = [f"{o.kind} {o.step}: {o.waiting_for}" for o in running]
        return "; ".join(told + [f"machine {m.contract_id} {m.state}: {m.state_reason}" for m in machines])

    def reached(self, operation_id: int, step: str, boundary: Boundary) -> None:
        if (step, boundary) in self.crashes:
            self.crashes.remove((step, boundary))
            raise Crash(f"{step} {boundary}")


@contextmanager
def opened(root: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Iterator[Market]:
    """A market within the database's present transaction, which must be rolled back afterwards."""
    world = make_world(root, monkeypatch, settings)
    settings.DUMONT_PROVIDERS = ("vast",)
    clock = SharedClock()
    redis = redis_from_url(configured.DUMONT_BROKER_URL)
    with VastFake(clock=clock) as fake:
        client = _client(fake, redis)
        # Searches are shared for seconds of the real time; here they would be shared for hours.
        provider = VastProvider(client, Shelf(redis, fake.url), shared_seconds=0.0)
        monkeypatch.setattr(vast, "from_settings", lambda: provider)
        market = Market(world, fake, clock)
        monkeypatch.setattr(context, "box_of", market.box)
        monkeypatch.setattr(reconciling, "box_of", market.box)
        for module in (boxes, reconciling):
            monkeypatch.setattr(module, "resume_writers", MarketBox.resume)
        monkeypatch.setattr(arriving, "scan_host_key", lambda host, port: "ssh-ed25519 AAAA")
        monkeypatch.setattr(operations, "reached", market.reached)
        try:
            yield market
        finally:
            client.close()
            redis.close()


def _client(fake: VastFake, redis: Redis) -> VastClient:
    return VastClient(fake.url, fake.key, Limiter(redis, f"market {fake.url}", LIMITS, scale=_SCALE))
