"""Adopting for real: a rental of a fake vast.ai that is a process with SSH and a GPU, the agent's own heartbeats."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest
from django.test import Client
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from hibernation.domain.states import OperationState
from hibernation.models import Operation
from hibernation.providers import vast
from hibernation.providers.limiter import Limiter
from hibernation.providers.shelf import Shelf
from hibernation.providers.vast import VastProvider
from hibernation.providers.vast.client import VastClient
from hibernation.services import dispatch, operations
from hibernation.services.requests import request_hibernate
from hibernation.snapshots.registry import get_store
from tests.fakes.vast import VastFake
from tests.fakes.vast.contracts import Contract
from tests.fakes.vast.machines import LocalMachines
from tests.hibernation.providers.free_limiter import FreeLimiter
from tests.hibernation.providers.renting import eventually, make_key

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.network]


@pytest.fixture
def market(
    tmp_path: Path, live_server: LiveServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[VastFake]:
    settings.DUMONT_PROVIDERS = ("vast",)
    settings.DUMONT_BASE_URL = live_server.url
    settings.DUMONT_SSH_KEY_FILE = make_key(tmp_path)
    settings.DUMONT_STORE_ROOT = tmp_path / "store"
    settings.DUMONT_STORE_ROOT.mkdir()
    settings.DUMONT_HEARTBEAT_INTERVAL = timedelta(seconds=1)
    monkeypatch.setattr(dispatch, "_send", lambda *_: None)
    get_store.cache_clear()
    with VastFake(tmp_path / "machines", boot_seconds=0.2) as fake:
        client = VastClient(fake.url, fake.key, cast(Limiter, FreeLimiter()))
        monkeypatch.setattr(vast, "from_settings", lambda: VastProvider(client, cast(Shelf, None)))
        yield fake
        client.close()
    get_store.cache_clear()


def rented(market: VastFake) -> Contract:
    """Somebody's own machine, when it runs."""
    contract = market.rent(label="my own")
    eventually(lambda: market.contracts[contract.id].up)
    return contract


def machine_folder(market: VastFake, contract: Contract) -> Path:
    assert isinstance(market.machines, LocalMachines)
    return market.machines.provider.machine_folder(market.machines.local_id(contract.id))


def finish(operation: Operation) -> Operation:
    """As workers do, but here: step after step until it is over."""
    until = time.monotonic() + 90
    while time.monotonic() < until:
        operation.refresh_from_db()
        if operation.state != OperationState.RUNNING:
            return operation
        if not operations.run_step(operation.pk, operation.step):
            time.sleep(0.1)
    raise AssertionError(f"{operation.step}: {operation.waiting_for}")


def test_a_rental_is_adopted_watched_and_in_the_end_saved_and_ended(market: VastFake, api: Client) -> None:
    contract, stranger = rented(market), rented(market)
    body = {"instance_id": f"vast_{contract.id}", "may_be_destroyed": True}
    reply = api.post("/api/instances", body, content_type="application/json")
    assert reply.status_code == 202, reply.json()
    operation = finish(Operation.objects.get(pk=reply.json()["id"]))
    assert operation.state == OperationState.SUCCEEDED, operation.error
    assert (market.contracts[contract.id].label or "").startswith("dumont-")
    seen = api.get(f"/api/instances/vast_{contract.id}").json()
    assert (seen["status"], seen["vast_info"]["instance_id"]) == ("running", contract.id)

    (machine_folder(market, contract) / "workspace" / "notes.txt").write_text("mine")
    order = request_hibernate(f"vast_{contract.id}", actor="user:ana", reason="test")
    hibernation = finish(order)
    assert hibernation.state == OperationState.SUCCEEDED, hibernation.error
    assert contract.id not in market.contracts
    assert market.contracts[stranger.id].label == "my own"


def test_a_machine_enrols_itself_with_one_line(market: VastFake, api: Client, tmp_path: Path) -> None:
    contract = rented(market)
    told = api.post("/api/enrolments", {"may_be_destroyed": True}, content_type="application/json").json()
    home = tmp_path / "home"
    env = {"HOME": str(home), "PATH": "/usr/bin:/bin", "CONTAINER_ID": str(contract.id)}
    done = subprocess.run(["sh", "-c", told["command"]], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"vast_{contract.id}" in done.stdout
    operation = finish(Operation.objects.get())
    assert operation.state == OperationState.SUCCEEDED, operation.error
