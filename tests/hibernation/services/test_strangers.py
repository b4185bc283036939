"""Somebody else's machines in the same account, over a thousand sweeps in which everything else goes wrong."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from django.conf import settings
from django.db.models import F

from hibernation.domain.errors import NoCapacity, ProviderUnavailable
from hibernation.domain.states import InstanceStatus, MachineState, Phase
from hibernation.models import Instance, Machine, ProviderAccount
from hibernation.providers.base import RentedMachine
from hibernation.services.clock import db_now
from hibernation.services.reconcile import reconcile
from hibernation.services.sweep import sweep
from tests.factories import make_instance, make_machine, make_snapshot
from tests.hibernation.services.world import World

pytestmark = pytest.mark.django_db

SEEDS, SWEEPS = 10, 100
"""In short runs, for a transaction in which rows change again and again gets slow."""
DEEDS = ("destroy", "stop", "start", "attach_key", "set_label")
WITHOUT_CONTRACT = (MachineState.INTENDED, MachineState.VOID, MachineState.ABANDONED)
M = MachineState
MOMENTS: dict[type[Machine] | type[Instance] | type[ProviderAccount], tuple[str, ...]] = {
    Machine: (
        "state_changed_at",
        "missing_since",
        "destroy_due_at",
        "phase_since",
        "listed_at",
        "down_since",
        "start_due_at",
        "alarmed_at",
        "parked_until",
    ),
    ProviderAccount: ("credit_asked_at", "credit_at", "listed_at"),
}


@dataclass
class Chaos:
    world: World
    rng: Random
    strangers: dict[str, RentedMachine]
    ours: int = 0

    def go_wrong(self) -> None:
        """What one sweep finds: no list, a short one, machines in any phase, our labels changed by somebody."""
        provider, rng = self.world.provider, self.rng
        provider.list_error = ProviderUnavailable() if rng.random() < 0.1 else None
        rented = list(provider.machines)
        hidden = {0: rented, 1: rng.sample(rented, len(rented) // 2)}.get(rng.randrange(6), [])
        provider.hidden = set(hidden)
        provider.start_errors = [NoCapacity()] if rng.random() < 0.3 else []
        provider.destroys_ignored, provider.destroys_refused = rng.choice([(0, 0), (1, 0), (0, 1)])
        provider.credit_left = Decimal(rng.choice(["0.1", "2", "900"]))
        for contract in rented:
            if rng.random() < 0.2:
                provider.show(contract, phase=rng.choice([*Phase]))
        mine = [contract for contract in rented if contract not in self.strangers]
        if mine and rng.random() < 0.1:
            provider.show(rng.choice(mine), label=rng.choice(["", "training run", self.label(), "dumont-"]))
        if rng.random() < 0.7:
            self.pass_time(rng.choice([5, 31, 61, 400, 4000]))

    def label(self) -> str:
        self.ours += 1
        return f"{settings.DUMONT_LABEL_PREFIX}x-{self.ours}"

    def pass_time(self, seconds: float) -> None:
        for model, names in MOMENTS.items():
            model.objects.update(**{name: F(name) - timedelta(seconds=seconds) for name in names})

    def rent(self) -> None:
        """One more row of ours, in any state, whose rental is listed or not; or a rental that no row explains."""
        label, state = self.label(), self.rng.choice([*MachineState])
        if state is M.ORPHAN:
            self.world.provider.rent(label)
            return
        instance = make_instance(status=InstanceStatus.RUNNING)
        if self.rng.random() < 0.5:
            instance.snapshot = make_snapshot(instance)
            instance.save()
        contract = f"{70_000 + self.ours}"
        if self.rng.random() < 0.7:
            self.world.provider.rent(label, contract=contract)
        known = None if state in WITHOUT_CONTRACT else contract
        more = self.kept_warm(instance) if state is M.PARKED else {}
        make_machine(
            instance, label=label, state=state, contract_id=known, ssh_host="127.0.0.1", ssh_port=22, **more
        )

    def kept_warm(self, instance: Instance) -> dict[str, Any]:
        instance.snapshot = make_snapshot(instance)
        instance.status = InstanceStatus.HIBERNATED
        instance.save()
        return {"parked_snapshot": instance.snapshot, "parked_until": db_now() + timedelta(minutes=30)}

    def forget(self) -> None:
        """Else there are more and more. Rows stay: what is over may be listed again."""
        self.world.provider.machines = dict(self.strangers) | {
            contract: machine
            for contract, machine in self.world.provider.machines.items()
            if contract not in self.strangers and self.rng.random() < 0.5
        }


def strangers(world: World) -> dict[str, RentedMachine]:
    """Also such as look like ours to a careless reader."""
    prefix = settings.DUMONT_LABEL_PREFIX
    labels = (
        "",
        "dumont",
        "dumont-",
        "dumont-0badcafe-vast_1-2-1",
        prefix.upper() + "x",
        prefix[:-1],
        f" {prefix}x",
    )
    contracts = [world.provider.rent(label) for label in (*labels, f"my {prefix}machine", "comfyui 🙂")]
    return {contract: world.provider.machines[contract] for contract in contracts}


@pytest.mark.parametrize("seed", range(SEEDS))
def test_strangers_survive_a_thousand_sweeps_untouched(world: World, seed: int) -> None:
    world.provider.can_stop = True
    chaos = Chaos(world, Random(seed), strangers(world))
    for number in range(SWEEPS):
        if number % 8 == 0:
            chaos.rent()
        if number % 25 == 24:
            chaos.forget()
        chaos.go_wrong()
        reconcile()
        if number % 10 == 5:
            sweep()
    touched = {call.split()[1] for call in world.log if call.split()[0] in DEEDS}
    assert touched.isdisjoint(chaos.strangers)
    assert touched, "nothing of ours was touched either: the test has gone blind"
    for contract, before in chaos.strangers.items():
        now = world.provider.machines[contract]
        assert replace(now, phase=before.phase) == before
    assert not Machine.objects.filter(contract_id__in=chaos.strangers).exists()
