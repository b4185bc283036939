"""Every constraint of the tables, violated once: what SQL can refuse, no bug above it can do."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.db import IntegrityError, connection, transaction
from django.db.models import Model

from hibernation.domain.states import MachineState, OperationState, SnapshotState
from hibernation.models import (
    Event,
    Host,
    Instance,
    Membership,
    ProviderAccount,
    ReadingHour,
    Snapshot,
    Team,
    UsageInterval,
)
from hibernation.services.clock import db_now
from hibernation.services.teams import default_team
from hibernation.services.tokens import create_api_token
from tests.factories import (
    idle_for,
    make_hibernated,
    make_instance,
    make_machine,
    make_operation,
    make_pack,
    make_run,
    make_schedule,
    make_snapshot,
    make_user,
)

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


@contextmanager
def refused(constraint: str) -> Iterator[None]:
    with pytest.raises(IntegrityError, match=f'"{constraint}"'), transaction.atomic():
        yield


@pytest.mark.parametrize(
    ("constraint", "fields"),
    [
        ("instance_status_known", {"status": "asleep"}),
        ("instance_threshold_is_per_cent", {"gpu_usage_threshold": 0}),
        ("instance_threshold_is_per_cent", {"gpu_usage_threshold": 100.1}),
        ("instance_pauses_after_a_while", {"pause_after": timedelta(0)}),
        ("instance_deletes_after_a_while", {"delete_after": -HOUR}),
        ("instance_utilization_is_per_cent", {"gpu_utilization": 101}),
        ("instance_utilization_is_per_cent", {"gpu_utilization": -1}),
        ("instance_hibernated_has_a_snapshot", {"status": "hibernated"}),
        ("instance_hibernated_has_a_snapshot", {"status": "deleted"}),
        ("instance_is_warm_for_a_day_at_most", {"warm_minutes": 1441}),
        ("instance_price_is_positive", {"max_price": Decimal(0)}),
        ("instance_reliability_is_a_part", {"min_reliability": 1.01}),
        ("instance_reliability_is_a_part", {"min_reliability": -0.01}),
        ("instance_cuda_is_a_version", {"min_cuda": -1}),
        ("instance_keeps_a_snapshot", {"keep_last": 0}),
        ("instance_saves_once_in_a_while", {"snapshot_interval": timedelta(seconds=59)}),
    ],
)
def test_an_instance_that_cannot_be(constraint: str, fields: dict[str, Any]) -> None:
    with refused(constraint):
        make_instance(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        lambda: idle_for(4) | {"status": "running"},
        lambda: idle_for(4) | {"idle_since": None},
        lambda: idle_for(4) | {"hibernate_due_at": db_now() - HOUR},
    ],
    ids=["not idle", "idle since never", "due before it was idle"],
)
def test_an_instance_is_due_only_after_it_was_idle(fields: Callable[[], dict[str, Any]]) -> None:
    with refused("instance_due_only_when_idle"):
        make_instance(**fields())


@pytest.mark.parametrize(
    ("constraint", "make"),
    [
        ("team_has_a_name", lambda: Team.objects.create(name="")),
        ("membership_role_known", lambda: make_user(role="king")),  # type: ignore[arg-type]
        ("token_scope_known", lambda: create_api_token(make_user(), "t", scope="all")),  # type: ignore[arg-type]
    ],
)
def test_a_right_that_cannot_be(constraint: str, make: Callable[[], object]) -> None:
    with refused(constraint):
        make()


def test_a_user_is_in_a_team_once() -> None:
    user = make_user()
    with refused("one_membership_per_team"):
        Membership.objects.create(team=default_team(), user=user)


def test_an_instance_is_always_somebodys() -> None:
    with pytest.raises(IntegrityError, match="team_id"), transaction.atomic():
        make_instance(team=None)


def test_a_hibernated_instance_cannot_lose_its_snapshot() -> None:
    instance = make_hibernated()
    with refused("instance_hibernated_has_a_snapshot"):
        Instance.objects.filter(pk=instance.pk).update(snapshot=None)


@pytest.mark.parametrize("state", [MachineState.INTENDED, MachineState.LAUNCHED, MachineState.ACTIVE])
def test_an_instance_has_one_live_machine(state: MachineState) -> None:
    instance = make_instance()
    make_machine(instance)
    with refused("one_live_machine_per_instance"):
        make_machine(instance, state=state)


def test_an_instance_has_one_spare_beside_its_live_machine() -> None:
    instance = make_instance()
    make_machine(instance)
    make_machine(instance, state=MachineState.SPARE)
    with refused("one_spare_per_instance"):
        make_machine(instance, state=MachineState.SPARE)


def test_a_released_rental_can_be_adopted_again() -> None:
    make_machine(None, contract_id="1", state=MachineState.RELEASED)
    make_machine(make_instance(), contract_id="1", state=MachineState.ADOPTING)
    with refused("one_row_per_contract"):
        make_machine(make_instance(), contract_id="1")


def test_an_instance_may_have_many_machines_that_are_over() -> None:
    instance = make_instance()
    for state in (MachineState.DESTROYING, MachineState.DESTROYED, MachineState.LOST, MachineState.ACTIVE):
        make_machine(instance, state=state)


@pytest.mark.parametrize(
    ("constraint", "fields"),
    [
        ("machine_state_known", {"state": "melted"}),
        ("machine_rented_has_a_contract", {"state": "launched", "contract_id": None}),
        ("machine_rented_has_a_contract", {"state": "spare", "contract_id": None}),
        ("machine_rented_has_a_contract", {"state": "active", "contract_id": None}),
        ("machine_rented_has_a_contract", {"state": "destroying", "contract_id": None}),
        ("machine_rented_has_a_contract", {"state": "destroyed", "contract_id": None}),
    ],
)
def test_a_machine_that_cannot_be(constraint: str, fields: dict[str, Any]) -> None:
    with refused(constraint):
        make_machine(None, **fields)


def test_a_machine_ends_after_it_begins() -> None:
    with refused("machine_ends_after_it_begins"):
        make_machine(None, state="destroyed", destroyed_at=db_now() - HOUR)


def test_a_contract_has_one_row() -> None:
    make_machine(None, contract_id="7")
    with refused("one_row_per_contract"):
        make_machine(None, contract_id="7")


@pytest.mark.parametrize(
    ("constraint", "state"),
    [("one_running_operation_per_instance", "running"), ("one_queued_operation_per_instance", "queued")],
)
def test_an_instance_has_one_operation_of_a_state(constraint: str, state: str) -> None:
    instance = make_instance()
    make_operation(instance, state=state)
    with refused(constraint):
        make_operation(instance, state=state, kind="wake")


def test_a_key_names_one_operation_of_a_kind() -> None:
    instance = make_instance()
    make_operation(instance, state="queued", idempotency_key="k")
    with refused("one_operation_per_idempotency_key"):
        make_operation(instance, idempotency_key="k")


@pytest.mark.parametrize(
    ("constraint", "fields"),
    [
        ("operation_ends_once", {"state": "paused"}),  # which makes "operation_state_known" hold as well
        ("operation_kind_known", {"kind": "reboot"}),
        ("operation_lease_is_whole", {"lease_token": uuid.UUID(int=1)}),
        ("operation_ends_once", {"state": "succeeded"}),
        ("operation_ends_once", {"state": "failed"}),
        ("operation_ends_once", {"state": "cancelled"}),
    ],
)
def test_an_operation_that_cannot_be(constraint: str, fields: dict[str, Any]) -> None:
    with refused(constraint):
        make_operation(make_instance(), **fields)


def test_a_running_operation_has_not_ended() -> None:
    with refused("operation_ends_once"):
        make_operation(make_instance(), finished_at=db_now() + HOUR)


def test_a_lease_has_an_owner() -> None:
    with refused("operation_lease_is_whole"):
        make_operation(make_instance(), lease_until=db_now())


def test_only_a_running_operation_is_leased() -> None:
    with refused("operation_lease_only_while_running"):
        make_operation(
            make_instance(), state=OperationState.QUEUED, lease_token=uuid.uuid4(), lease_until=db_now()
        )


@pytest.mark.parametrize(
    "fields", [{"kind": "hibernate"}, {"kind": "wake", "state": "queued"}], ids=["no wake", "not running"]
)
def test_only_a_running_wake_has_a_spare(fields: dict[str, Any]) -> None:
    with refused("operation_spare_is_of_a_running_wake"):
        make_operation(make_instance(), spare=make_machine(None), **fields)


def test_a_spare_is_another_machine() -> None:
    machine = make_machine(None)
    make_operation(make_instance(), kind="wake", spare=machine)
    with refused("operation_spare_is_another"):
        make_operation(make_instance(), kind="wake", machine=machine, spare=machine)


def test_there_is_no_return_only_with_a_snapshot() -> None:
    with refused("no_return_needs_a_snapshot"):
        make_operation(make_instance(), point_of_no_return_at=db_now())


def test_an_operation_ends_after_it_begins() -> None:
    with refused("operation_finishes_after_it_starts"):
        make_operation(make_instance(), state="failed", finished_at=db_now() - HOUR)


@pytest.mark.parametrize(
    "fields",
    [{"verified_at": None}, {"manifest_key": ""}, {"manifest_sha256": ""}],
    ids=["time", "key", "hash"],
)
def test_a_verified_snapshot_is_complete(fields: dict[str, Any]) -> None:
    with refused("snapshot_verified_is_complete"):
        make_snapshot(make_instance(), **fields)


def test_a_snapshot_state_is_known() -> None:
    with refused("snapshot_state_known"):
        make_snapshot(make_instance(), state="lost")
    make_snapshot(make_instance(), state=SnapshotState.WRITING, verified_at=None, manifest_key="")


@pytest.mark.parametrize("who", ["", "user:ana"])
def test_a_proof_is_asked_for_by_somebody(who: str) -> None:
    snapshot = make_snapshot(make_instance())
    with refused("snapshot_proof_is_asked_by_somebody"):
        Snapshot.objects.filter(pk=snapshot.pk).update(
            proof_asked_by=who, proof_asked_at=None if who else snapshot.created_at
        )


def test_a_pack_has_bytes() -> None:
    with refused("pack_has_bytes"):
        make_pack(make_instance(), size=0)


def test_an_event_type_is_known() -> None:
    with refused("event_type_known"):
        Event.objects.create(event_type="rained", timestamp=db_now(), reason="")


def test_usage_ends_after_it_starts() -> None:
    now = db_now()
    with refused("usage_ends_after_it_starts"):
        UsageInterval.objects.create(
            machine=make_machine(None), price_per_hour=1, started_at=now, ended_at=now - HOUR
        )


def test_a_machine_has_one_open_usage() -> None:
    machine, now = make_machine(None), db_now()
    UsageInterval.objects.create(machine=machine, price_per_hour=1, started_at=now - HOUR, ended_at=now)
    UsageInterval.objects.create(machine=machine, price_per_hour=1, started_at=now)
    with refused("one_open_usage_per_machine"):
        UsageInterval.objects.create(machine=machine, price_per_hour=1, started_at=now)


def test_a_machine_is_parked_on_a_copy_and_for_a_time() -> None:
    instance = make_instance()
    snapshot, until = make_snapshot(instance), db_now() + HOUR
    with refused("machine_parked_is_saved"):
        make_machine(instance, state=MachineState.PARKED, parked_until=until)
    with refused("machine_parked_is_saved"):
        make_machine(instance, state=MachineState.PARKED, parked_snapshot=snapshot)


def test_an_instance_has_no_machine_beside_a_parked_one() -> None:
    instance = make_instance()
    parked = {"parked_snapshot": make_snapshot(instance), "parked_until": db_now() + HOUR}
    make_machine(instance, state=MachineState.PARKED, **parked)
    with refused("one_kept_machine_per_instance"):
        make_machine(instance, state=MachineState.INTENDED, contract_id=None)


def test_an_hour_of_readings_has_one_row() -> None:
    row = {"instance": make_instance(), "hour_at": db_now(), "gpu_max": [-1] * 60}
    ReadingHour.objects.create(**row)
    with refused("one_row_per_instance_and_hour"):
        ReadingHour.objects.create(**row)


@pytest.mark.parametrize(
    ("constraint", "fields"),
    [
        ("host_has_a_name", {"host": ""}),
        ("host_verdict_known", {"verdict": "ugly"}),
        ("one_row_per_host", {"host": "h1"}),
    ],
)
def test_a_host_that_cannot_be(constraint: str, fields: dict[str, Any]) -> None:
    Host.objects.create(provider="fake", host="h1")
    with refused(constraint):
        Host.objects.create(**{"provider": "fake", "host": "h2", **fields})


def test_an_account_level_is_known() -> None:
    with refused("account_level_known"):
        ProviderAccount.objects.create(provider="fake", level="broke")


def test_a_machine_phase_is_known() -> None:
    with refused("machine_phase_known"):
        make_machine(None, phase="asleep")


@pytest.mark.parametrize(
    ("constraint", "fields"),
    [
        ("schedule_has_a_leg", {"wake_time": None, "sleep_time": None}),
        ("schedule_days_are_of_the_week", {"days": [7]}),
        ("schedule_days_are_of_the_week", {"days": []}),
        ("schedule_subdivision_has_a_country", {"holiday_subdivision": "SP"}),
        ("schedule_when_busy_known", {"when_busy": "panic"}),
        ("schedule_waits_forward", {"wait_at_most": -HOUR}),
        ("schedule_waits_forward", {"give_up_after": -HOUR}),
        ("schedule_waits_forward", {"lead": -HOUR}),
        ("schedule_stays_awake_between_two_times", {"stay_awake": True, "sleep_time": None}),
        ("schedule_next_is_whole", {"next_leg": ""}),
        ("schedule_next_is_whole", {"next_due_at": None}),
        ("schedule_next_is_whole", {"next_run_at": None}),
        ("schedule_next_is_whole", {"enabled": False}),
    ],
)
def test_a_schedule_that_cannot_be(constraint: str, fields: dict[str, Any]) -> None:
    make_schedule(make_instance())
    with refused(constraint):
        make_schedule(make_instance(), **fields)


def test_a_schedule_is_due_after_what_it_settled() -> None:
    now = db_now()
    with refused("schedule_next_is_whole"):
        make_schedule(make_instance(), settled_at=now, next_run_at=now, next_due_at=now)
    with refused("schedule_next_is_whole"):
        make_schedule(make_instance(), next_run_at=now + 3 * HOUR, next_due_at=now + 2 * HOUR)


@pytest.mark.parametrize(
    ("constraint", "fields"),
    [
        ("run_leg_known", {"leg": "dance"}),
        ("run_ends_once", {"state": "paused", "ask_at": None}),
        ("run_ends_once", {"state": "done", "ask_at": None}),
        ("run_waits_until_asked", {"ask_at": None}),
        ("run_started_has_an_operation", {"state": "started", "ask_at": None}),
    ],
)
def test_a_run_that_cannot_be(constraint: str, fields: dict[str, Any]) -> None:
    make_run(make_instance())
    with refused(constraint):
        make_run(make_instance(), **fields)


def test_an_open_run_has_not_ended() -> None:
    with refused("run_ends_once"):
        make_run(make_instance(), finished_at=db_now())


def test_an_ended_run_is_not_asked() -> None:
    with refused("run_waits_until_asked"):
        make_run(make_instance(), state="done", finished_at=db_now())


def test_an_occurrence_has_one_run() -> None:
    instance = make_instance()
    make_run(instance)
    make_run(instance, leg="sleep")
    with refused("one_run_per_occurrence"):
        make_run(instance)


def test_every_constraint_is_named_above() -> None:
    """A new constraint without its test fails here."""
    models: list[type[Model]] = list(apps.get_app_config("hibernation").get_models())
    source = Path(__file__).read_text()
    names = {constraint.name for model in models for constraint in model._meta.constraints}
    assert [name for name in sorted(names) if f'"{name}"' not in source] == []


def test_every_index_and_constraint_of_the_models_is_in_the_tables() -> None:
    """A migration that alters a column can take others with it, and no check of migrations says so."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexname FROM pg_indexes UNION SELECT conname FROM pg_constraint")
        there = {name for (name,) in cursor.fetchall()}
    named = {
        one.name
        for model in apps.get_app_config("hibernation").get_models()
        for one in (*model._meta.indexes, *model._meta.constraints)
    }
    assert named - there == set()
