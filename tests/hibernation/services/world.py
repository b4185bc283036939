"""Everything outside the control plane, in memory: provider, boxes, store, time. Operations run in this process."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.db.models import DateTimeField, F
from pytest_django import Settings

from hibernation.box import trial
from hibernation.box.jobs import JobProgress
from hibernation.domain.heartbeats import Beat
from hibernation.domain.states import INSTANCE_ARROWS, InstanceStatus, OperationKind, OperationState
from hibernation.models import Event, Instance, Machine, Operation, UsageInterval
from hibernation.providers import registry
from hibernation.services import dispatch, operations
from hibernation.services import reconcile as reconciling
from hibernation.services.clock import db_now
from hibernation.services.heartbeats import Answer, Heartbeat, receive_heartbeat
from hibernation.services.requests import request_hibernate, request_wake
from hibernation.services.steps import boxes, context
from hibernation.services.tokens import issue_agent_token, read_agent_token
from hibernation.snapshots.registry import get_store
from tests.factories import PROVIDER, make_instance, make_machine
from tests.hibernation.services import provider as provider_module
from tests.hibernation.services.box import FakeBox
from tests.hibernation.services.provider import FakeProvider


@dataclass
class World:
    """``log`` holds every call that reached the outside, in order; ``sent`` every step that was enqueued.

    ``specs``: what each job was last asked to do."""

    root: Path
    log: list[str] = field(default_factory=list)
    sent: list[tuple[int, str, float]] = field(default_factory=list)
    boxes: dict[str, FakeBox] = field(default_factory=dict)
    specs: dict[str, dict[str, Any]] = field(default_factory=dict)
    box_class: type[FakeBox] = FakeBox

    def __post_init__(self) -> None:
        self.provider = FakeProvider(self.log, workspace=str(self.root / "machines"))

    @property
    def store_root(self) -> Path:
        return self.root / "store"

    def box(self, machine: Machine | Instance) -> FakeBox:
        """The box of a machine, or of an instance's newest machine."""
        row = machine if isinstance(machine, Machine) else machine.machines.order_by("-id").first()
        assert row is not None
        assert row.contract_id is not None
        if row.contract_id not in self.boxes:
            home = self.root / "machines" / row.contract_id
            self.boxes[row.contract_id] = self.box_class(home, self.store_root, self.log)
        return self.boxes[row.contract_id]

    def awake(self, **more: Any) -> Instance:
        """An instance on a rented machine, with an agent that has its token and a workspace with a few files."""
        instance = make_instance(**more)
        machine = make_machine(instance, ssh_host="127.0.0.1", ssh_port=22)
        UsageInterval.objects.create(
            machine=machine, instance=instance, price_per_hour=machine.price_per_hour, started_at=db_now()
        )
        self.provider.rent(machine.label, contract=machine.contract_id)
        box = self.box(machine)
        Machine.objects.filter(pk=machine.pk).update(workspace=str(box.workspace))
        box.install(instance.pk, issue_agent_token(machine))
        (box.workspace / "notes.txt").write_text("hello")
        (box.workspace / "data").mkdir()
        (box.workspace / "data" / "model.bin").write_bytes(bytes(range(256)) * 300)
        self.log.clear()
        return instance

    def asleep(self, **more: Any) -> Instance:
        """An instance that was really hibernated: its packs are in the store, its machine is gone."""
        instance = self.awake(**more)
        operation = self.run(request_hibernate(instance.pk, actor="user:ana", reason="test"))
        assert operation.state == OperationState.SUCCEEDED, operation.error
        self.log.clear()
        instance.refresh_from_db()
        return instance

    def hibernate(self, instance: Instance, *, forced: bool = True, **more: Any) -> Operation:
        return request_hibernate(instance.pk, actor="user:ana", reason="asked", forced=forced, **more)

    def wake(self, instance: Instance, **more: Any) -> Operation:
        return request_wake(instance.pk, actor="user:ana", reason="asked", **more)

    def step(self, operation: Operation) -> Operation:
        """Run the current step once, now, whatever its back-off says."""
        operation.refresh_from_db()
        Operation.objects.filter(pk=operation.pk).update(next_attempt_at=db_now())
        starts = operation.kind in (OperationKind.WAKE, OperationKind.ADOPT)
        if starts and operation.step == "confirm" and operation.machine:
            box = self.box(operation.machine)
            if box.reports:
                self.beat(operation.instance, 0.0)
        operations.run_step(operation.pk, operation.step)
        operation.refresh_from_db()
        return operation

    def run(self, operation: Operation, *, until: str = "", steps: int = 60) -> Operation:
        """Run until the operation ends or reaches the step ``until``."""
        operation.refresh_from_db()
        for _ in range(steps):
            if operation.state != OperationState.RUNNING or operation.step == until:
                return operation
            self.step(operation)
        raise AssertionError(f"{operation.step} goes on for ever: {operation.waiting_for}")

    def beat(self, instance: Instance, *gpus: float | None, **more: Any) -> Answer:
        box = self.box(instance)
        box.seq += 1
        heartbeat = Heartbeat(
            instance_id=instance.pk,
            beat=Beat(more.pop("seq", box.seq), gpus, more.pop("spooled", False)),
            taken_at=more.pop("taken_at", datetime.now(UTC)),
            boot_id="boot",
            agent_version="1",
            reading={},
            guard=more.pop("guard", None),
        )
        token = read_agent_token(more.pop("token", box.token))
        assert token is not None
        return receive_heartbeat(token, heartbeat)

    def pass_time(self, seconds: float) -> None:
        """Everything that is written down happened ``seconds`` earlier."""
        for model in apps.get_app_config("hibernation").get_models():
            moments = [
                f.name
                for f in model._meta.get_fields()
                if isinstance(f, DateTimeField) and f.name != "hour_at"
            ]
            if moments:
                model._default_manager.update(
                    **{name: F(name) - timedelta(seconds=seconds) for name in moments}
                )


def make_world(root: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings) -> World:
    world = World(root)
    settings.DUMONT_PROVIDERS = (PROVIDER,)
    settings.DUMONT_STORE_ROOT = world.store_root
    # A list that others took shows what a test did some seconds ago.
    settings.DUMONT_LIST_SHARED = timedelta(0)
    # One machine at a time, unless a test is about two.
    settings.DUMONT_HEDGE_MOST_USD = Decimal(0)
    settings.DUMONT_SSH_KEY_FILE = root / "id"
    (root / "id.pub").write_text("ssh-ed25519 AAAA test\n")
    world.store_root.mkdir()
    get_store.cache_clear()
    monkeypatch.setitem(registry.FACTORIES, PROVIDER, f"{provider_module.__name__}:make")
    monkeypatch.setattr(provider_module, "current", world.provider)
    monkeypatch.setattr(dispatch, "_send", lambda pk, kind, step, delay: world.sent.append((pk, step, delay)))
    _replace_boxes(world, monkeypatch)
    return world


def _replace_boxes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def log(name: str) -> None:
        world.log.append(name)

    def start(box: FakeBox, job: str, spec: dict[str, Any], again: bool) -> JobProgress:
        world.specs[job] = spec
        return box.start_job(job, spec, again)

    monkeypatch.setattr(context, "box_of", world.box)
    monkeypatch.setattr(reconciling, "box_of", world.box)
    monkeypatch.setattr(reconciling, "resume_writers", lambda box: box.run("true", timeout=1))
    monkeypatch.setattr(
        boxes, "install_agent", lambda box, *, instance_id, token, **_: box.install(instance_id, token)
    )
    monkeypatch.setattr(
        boxes.jobs, "start_job", lambda box, job, spec, *, again=False: start(box, job, dict(spec), again)
    )
    monkeypatch.setattr(boxes.jobs, "job_status", lambda box, job: box.job_status(job))
    monkeypatch.setattr(boxes.jobs, "stop_job", lambda box, job: box.stop_job(job))
    monkeypatch.setattr(boxes, "is_current", lambda box, workspace: box.is_current())
    monkeypatch.setattr(boxes, "fence_box", lambda box, workspace, state_file: box.fence())
    monkeypatch.setattr(boxes, "resume_writers", lambda box: log("resume"))
    monkeypatch.setattr(trial, "try_machine", lambda box, downloads, seconds: box.selftest(downloads))
    monkeypatch.setattr(trial, "run_hook", lambda box, line, workspace, seconds: box.run_hook(line))


def events(instance: Instance) -> list[str]:
    return list(instance.events.order_by("id").values_list("event_type", flat=True))


def assert_consistent(instance: Instance) -> None:
    """The log replays to the present status over legal arrows, and every rental is billed once, to its end."""
    instance.refresh_from_db()
    status = ""
    for event in Event.objects.filter(instance=instance).exclude(status_to="").order_by("id"):
        assert status in ("", event.status_from), (
            f"{event.event_type} starts from {event.status_from}, not {status}"
        )
        if event.status_from:
            arrows = INSTANCE_ARROWS[InstanceStatus(event.status_from)]
            assert event.status_to in arrows, f"{event.status_from} → {event.status_to}"
        status = event.status_to
    assert status in ("", instance.status)
    for machine in instance.machines.all():
        intervals = UsageInterval.objects.filter(machine=machine)
        ours = machine.state not in ("adopting", "released") or machine.activated_at is not None
        open_, rented = (
            intervals.filter(ended_at__isnull=True).count(),
            ours and machine.contract_id is not None,
        )
        prices = [interval.stopped for interval in intervals.order_by("id")]
        assert prices == [number % 2 == 1 for number in range(len(prices))]
        assert bool(prices) == rented
        assert open_ == (1 if machine.state in ("launched", "active", "destroying", "parked") else 0)
