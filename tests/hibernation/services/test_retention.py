"""Deleting snapshots by the rules and by order, and what neither may ever take."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from hibernation.domain.errors import Conflict, NotFound
from hibernation.domain.states import InstanceStatus, SnapshotState
from hibernation.models import Event, Instance, Snapshot
from hibernation.services import retention
from hibernation.services.clock import db_now
from hibernation.services.requests import request_wake
from hibernation.services.retention import (
    LastGoodCopy,
    SnapshotInUse,
    SnapshotKept,
    apply_rules,
    delete_snapshot,
    keep_snapshot,
    retire,
)
from tests.factories import make_instance, make_operation, make_pack, make_snapshot
from tests.hibernation.services.world import World

pytestmark = pytest.mark.django_db


def history(count: int, instance: Instance | None = None, **more: Any) -> tuple[Instance, list[Snapshot]]:
    """An instance with so many proven snapshots, one a day, the last of them its last good copy."""
    instance = instance or make_instance(keep_last=1, keep_daily=0)
    now = db_now()
    made = [make_snapshot(instance, created_at=now - timedelta(days=count - n), **more) for n in range(count)]
    instance.snapshot = made[-1]
    instance.save()
    return instance, made


def states(instance: Instance) -> list[str]:
    return list(instance.snapshots.order_by("pk").values_list("state", flat=True))


def delete(instance: Instance, snapshot: Snapshot, **more: Any) -> Snapshot:
    return delete_snapshot(instance.pk, snapshot.name, actor="user:ana", **more)


def test_the_rules_delete_what_they_do_not_keep_and_say_why() -> None:
    instance, made = history(3)
    made[0].packs.add(make_pack(instance))
    assert apply_rules() == 2
    assert states(instance) == ["deleted", "deleted", "verified"]
    event = Event.objects.order_by("pk").first()
    assert event is not None
    assert (event.event_type, event.snapshot_name) == ("snapshot_deleted", made[0].name)
    assert event.reason == "deleted by the rules: older than the newest 1 and than the last of 0 days"
    made[0].refresh_from_db()
    assert made[0].deleted_at is not None
    assert not made[0].packs.exists()


def test_the_rules_of_one_day_delete_nothing_twice() -> None:
    history(3)
    assert (apply_rules(), apply_rules()) == (2, 0)
    assert Event.objects.count() == 2


def test_the_rules_never_touch_the_last_good_copy() -> None:
    """Also where it is not the newest proven one: an older one was woken, say."""
    instance, made = history(4)
    Instance.objects.update(snapshot=made[0])
    retire(instance.pk)
    assert states(instance) == ["verified", "deleted", "deleted", "verified"]


@pytest.mark.parametrize("kind", ["hibernate", "wake"])
def test_the_rules_never_touch_what_an_operation_uses(kind: str) -> None:
    instance, made = history(4)
    Snapshot.objects.filter(pk=made[1].pk).update(parent=made[0])
    make_operation(instance, kind=kind, snapshot=made[1])
    retire(instance.pk)
    assert states(instance) == ["verified", "verified", "deleted", "verified"]


def test_a_frozen_snapshot_whose_packs_are_not_listed_holds_its_parent() -> None:
    instance, made = history(2)
    frozen = make_snapshot(instance, state="frozen", verified_at=None, parent=made[0])
    assert apply_rules() == 0
    frozen.packs.add(make_pack(instance))
    assert apply_rules() == 1


def test_an_instance_that_fails_does_not_keep_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    bad, _ = history(2)
    good, _ = history(2)
    real = retention.retire

    def retire_but(instance_id: str) -> list[Snapshot]:
        if instance_id == bad.pk:
            raise RuntimeError("broken")
        return real(instance_id)

    monkeypatch.setattr(retention, "retire", retire_but)
    assert apply_rules() == 1
    assert states(good) == ["deleted", "verified"]


def test_an_order_deletes_one_snapshot_and_a_second_order_changes_nothing() -> None:
    instance, made = history(2)
    assert delete(instance, made[0]).state == SnapshotState.DELETED
    delete(instance, made[0])
    assert Event.objects.get().actor == "user:ana"
    assert states(instance) == ["deleted", "verified"]


def test_an_order_for_a_snapshot_of_somebody_else_finds_nothing() -> None:
    instance, _ = history(1)
    _, others = history(2)
    with pytest.raises(NotFound):
        delete(instance, others[0])
    with pytest.raises(NotFound):
        keep_snapshot(instance.pk, others[0].name, True, actor="user:ana")


def test_what_is_kept_is_let_go_before_it_can_be_deleted() -> None:
    instance, made = history(2)
    for _ in range(2):
        keep_snapshot(instance.pk, made[0].name, True, actor="user:ana")
    assert apply_rules() == 0
    with pytest.raises(SnapshotKept):
        delete(instance, made[0])
    keep_snapshot(instance.pk, made[0].name, False, actor="user:ana")
    assert delete(instance, made[0]).state == SnapshotState.DELETED
    told = list(Event.objects.order_by("pk").values_list("event_type", flat=True))
    assert told == ["config_changed", "config_changed", "snapshot_deleted"]


def test_a_deleted_snapshot_cannot_be_kept() -> None:
    instance, made = history(2)
    delete(instance, made[0])
    with pytest.raises(Conflict):
        keep_snapshot(instance.pk, made[0].name, True, actor="user:ana")


@pytest.mark.parametrize("state", ["running", "queued"])
def test_what_an_operation_uses_is_not_deleted_by_order(state: str) -> None:
    instance, made = history(3)
    Snapshot.objects.filter(pk=made[1].pk).update(parent=made[0])
    make_operation(instance, snapshot=made[1], state=state)
    for snapshot in made[:2]:
        with pytest.raises(SnapshotInUse):
            delete(instance, snapshot, last_copy=True)


@pytest.mark.parametrize("status", list(InstanceStatus))
def test_the_last_good_copy_never_goes_without_an_explicit_order(status: InstanceStatus) -> None:
    instance, made = history(1)
    Instance.objects.update(status=status)
    with pytest.raises(LastGoodCopy, match="last_copy=true"):
        delete(instance, made[0])
    assert states(instance) == ["verified"]


@pytest.mark.parametrize("status", [s for s in InstanceStatus if s not in ("running", "idle", "deleted")])
def test_the_workspace_itself_is_not_deleted_even_by_an_explicit_order(status: InstanceStatus) -> None:
    instance, made = history(2)
    Instance.objects.update(status=status)
    with pytest.raises(LastGoodCopy, match="is its workspace"):
        delete(instance, made[1], last_copy=True)
    assert states(instance) == ["verified", "verified"]


def test_the_only_proven_copy_counts_as_the_last_even_if_nothing_points_at_it() -> None:
    instance, made = history(1)
    Instance.objects.update(snapshot=None)
    with pytest.raises(LastGoodCopy):
        delete(instance, made[0])


def test_the_last_good_copy_stays_while_an_operation_runs() -> None:
    instance, made = history(1)
    make_operation(instance)
    with pytest.raises(SnapshotInUse):
        delete(instance, made[0], last_copy=True)


@pytest.mark.parametrize("status", ["running", "idle", "deleted"])
def test_the_one_before_takes_the_place_of_the_last_good_copy(status: str) -> None:
    instance, made = history(2)
    Instance.objects.update(status=status)
    delete(instance, made[1], last_copy=True)
    instance.refresh_from_db()
    assert instance.snapshot == made[0]


def test_a_working_instance_may_lose_its_only_copy() -> None:
    instance, made = history(1)
    delete(instance, made[0], last_copy=True)
    instance.refresh_from_db()
    assert instance.snapshot is None


def test_a_deleted_instance_without_its_only_copy_never_wakes_again(world: World) -> None:
    instance, made = history(1)
    Instance.objects.update(status="deleted")
    delete(instance, made[0], last_copy=True)
    with pytest.raises(Conflict, match="was deleted"):
        request_wake(instance.pk, actor="user:ana", reason="test")
    assert not instance.operations.exists()
