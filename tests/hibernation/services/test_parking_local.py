"""A local machine that is kept warm: its processes really end and run again, on the folder that they left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from hibernation.box.jobs import JobProgress
from hibernation.domain.states import InstanceStatus, MachineState, OperationState, Phase
from hibernation.models import Instance, Machine, Operation
from hibernation.providers.local import LocalProvider
from hibernation.services import reconcile as reconciling
from hibernation.services.instances import configure, register_instance
from hibernation.services.steps import context
from tests.hibernation.providers.renting import eventually, processes_of
from tests.hibernation.services.box import FakeBox, tree
from tests.hibernation.services.world import World, assert_consistent

pytestmark = [pytest.mark.django_db, pytest.mark.network]


@dataclass
class FolderBox(FakeBox):
    """What runs on a local machine, on the folder of that machine."""

    def start_job(self, job: str, spec: Mapping[str, Any], again: bool) -> JobProgress:
        return super().start_job(job, {**spec, "workspace": str(self.workspace)}, again)


@pytest.fixture
def provider(world: World, monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Iterator[LocalProvider]:
    settings.DUMONT_PROVIDERS = ("local",)
    settings.DUMONT_LOCAL_PROVIDER_ROOT = world.root / "local"
    rented = LocalProvider(world.root / "local", namespaces=False)

    def box(machine: Machine) -> FakeBox:
        contract = machine.contract_id or ""
        if contract not in world.boxes:
            home = rented.machine_folder(contract)
            world.boxes[contract] = FolderBox(home, world.store_root, world.log)
        return world.boxes[contract]

    monkeypatch.setattr(context, "box_of", box)
    monkeypatch.setattr(reconciling, "box_of", box)
    monkeypatch.setattr(
        World, "box", lambda world, of: box(of if isinstance(of, Machine) else of.machines.get())
    )
    yield rented
    rented.destroy_all()


def done(world: World, operation: Operation) -> Operation:
    """Machines need their time to come up."""

    def look() -> Operation | None:
        return operation if world.step(operation).state != OperationState.RUNNING else None

    ended = eventually(look)
    assert ended.state == OperationState.SUCCEEDED, ended.error
    return ended


def folder(provider: LocalProvider, instance: Instance) -> Path:
    return provider.machine_folder(instance.machines.get().contract_id or "") / "workspace"


def test_it_stops_and_runs_again_as_it_was_and_ends_for_good(world: World, provider: LocalProvider) -> None:
    instance = register_instance("work", provider="local", actor="user:ana")
    configure("work", {"warm_minutes": 30}, actor="user:ana")
    done(world, world.wake(instance))
    (folder(provider, instance) / "notes.txt").write_text("hello")
    before, contract = tree(folder(provider, instance)), instance.machines.get().contract_id or ""
    host_key = instance.machines.get().host_key

    hibernation = done(world, world.hibernate(instance))
    assert hibernation.result["instance_destroyed"] is False
    assert [one.phase for one in provider.list_machines()] == [Phase.STOPPED]
    assert processes_of(provider, contract) == set()

    wake = done(world, world.wake(instance))
    assert (wake.result["resumed"], wake.result["snapshot_restored"]) == (True, False)
    machine = instance.machines.get()
    assert (machine.state, machine.contract_id, machine.host_key) == (MachineState.ACTIVE, contract, host_key)
    assert [one.phase for one in provider.list_machines()] == [Phase.RUNNING]
    assert tree(folder(provider, instance)) == before

    done(world, world.hibernate(instance))
    configure("work", {"warm_minutes": 0}, actor="user:ana")
    for _ in range(2):
        reconciling.reconcile()
    assert list(provider.list_machines()) == []
    instance.refresh_from_db()
    assert instance.status == InstanceStatus.HIBERNATED
    assert_consistent(instance)
