"""Stored bytes that went wrong after the proof: nobody relies on what needs them while there is anything better."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from hibernation.domain.states import InstanceStatus, OperationState, SnapshotState
from hibernation.models import Event, Instance, Pack, Snapshot
from hibernation.services.clock import db_now
from hibernation.services.copies import best_copy
from hibernation.services.damage import clear_damage, record_damage
from hibernation.services.reproving import Verdict, reprove
from hibernation.services.retention import LastGoodCopy, delete_snapshot, retire
from hibernation.snapshots.verification import Fault
from tests.factories import make_instance, make_pack, make_snapshot
from tests.hibernation.services.world import World

pytestmark = pytest.mark.django_db


def history(count: int) -> tuple[Instance, list[Snapshot], list[Pack]]:
    """An instance with so many proven snapshots; each has a pack of its own and one that all of them share."""
    instance = make_instance(keep_last=1, keep_daily=0)
    shared, now = make_pack(instance), db_now()
    packs = [make_pack(instance) for _ in range(count)]
    made = [make_snapshot(instance, created_at=now - timedelta(days=count - n)) for n in range(count)]
    for snapshot, pack in zip(made, packs, strict=True):
        snapshot.packs.set([pack, shared])
    instance.snapshot = made[-1]
    instance.save()
    return instance, made, [*packs, shared]


def damage(snapshot: Snapshot, pack: Pack) -> None:
    record_damage(snapshot, [Fault(pack.key, f"pack {pack.key} is missing")])


def current(instance: Instance) -> Snapshot | None:
    instance.refresh_from_db()
    return instance.snapshot


def test_a_wake_restores_the_newest_copy_that_is_not_damaged() -> None:
    instance, made, packs = history(3)
    damage(made[2], packs[2])
    assert current(instance) == made[1]
    assert made[2].name in instance.last_error
    assert instance.last_error.endswith(f"a wake restores {made[1].name}")
    clear_damage(made[2])
    assert current(instance) == made[2]
    assert instance.last_error == ""
    assert [event.event_type for event in Event.objects.order_by("pk")] == ["failed", "snapshot_verified"]


def test_every_snapshot_that_needs_the_object_is_damaged() -> None:
    instance, made, packs = history(3)
    damage(made[0], packs[-1])
    assert not instance.snapshots.filter(damaged_at__isnull=True).exists()
    assert {event.snapshot_name for event in Event.objects.all()} == {one.name for one in made}
    assert current(instance) == made[2]
    assert instance.last_error.endswith("there is no other")
    damage(made[0], packs[-1])
    assert Event.objects.count() == 3
    assert instance.state_generation == 1


def test_a_copy_that_lacks_files_is_better_than_a_damaged_one_and_worse_than_a_whole_one() -> None:
    instance, made, packs = history(3)
    for one in made[1:]:
        Snapshot.objects.filter(pk=one.pk).update(report={"unreadable_total": 2})
    assert best_copy(instance) == made[0]
    damage(made[0], packs[0])
    assert best_copy(instance) == made[2]


def test_the_rules_keep_the_last_undamaged_copy_and_an_order_asks_twice() -> None:
    instance, made, packs = history(4)
    for number in (2, 3):
        damage(made[number], packs[number])
    retire(instance.pk)
    left = instance.snapshots.exclude(state=SnapshotState.DELETED)
    assert set(left) == {made[1], made[3]}
    with pytest.raises(LastGoodCopy):
        delete_snapshot(instance.pk, made[1].name, actor="user:ana")
    delete_snapshot(instance.pk, made[3].name, actor="user:ana")
    assert current(instance) == made[1]


def test_no_rental_ends_on_a_copy_that_was_found_damaged_meanwhile(world: World) -> None:
    instance = world.awake()
    operation = world.run(world.hibernate(instance), until="fence")
    assert operation.snapshot is not None
    damage(operation.snapshot, operation.snapshot.packs.all()[0])
    world.run(operation)
    assert (operation.state, operation.error_code) == (OperationState.FAILED, "snapshot_unproven")
    assert world.provider.calls("destroy") == []
    second = world.run(world.hibernate(instance))
    assert second.state == OperationState.SUCCEEDED, second.error
    assert second.snapshot is not None
    assert second.snapshot.parent is None
    assert current(instance) == second.snapshot


def test_the_only_copy_is_woken_with_a_warning(world: World) -> None:
    instance = world.asleep()
    assert instance.snapshot is not None
    damage(instance.snapshot, instance.snapshot.packs.all()[0])
    world.run(world.wake(instance))
    started = instance.events.get(event_type="wake_started")
    assert f"{instance.snapshot.name}, the only copy there is, is damaged: " in started.reason
    instance.refresh_from_db()
    assert instance.status == InstanceStatus.RUNNING


@pytest.mark.parametrize("attested", [False, True])
def test_only_decoding_it_makes_a_damaged_pack_good_again(
    world: World, attested: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = world.asleep()
    snapshot = instance.snapshot
    assert snapshot is not None
    pack = snapshot.packs.all()[0]
    path = world.store_root / pack.key
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    if attested:
        attest(monkeypatch)
    assert not prove(snapshot, everything=True).good
    assert not prove(snapshot, everything=False).good
    path.write_bytes(good)
    assert prove(snapshot, everything=False).good
    pack.refresh_from_db()
    assert pack.damaged_at is None
    assert pack.decoded_at is not None


def prove(snapshot: Snapshot, *, everything: bool) -> Verdict:
    silent: Callable[[str, int, int], None] = lambda *_: None  # noqa: E731
    return reprove(snapshot, b"secret", everything=everything, progress=silent)


def attest(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store says that it received what was announced, and does not notice what became of it."""
    from dataclasses import replace

    from hibernation.snapshots.filesystem import FilesystemStore

    told, real = dict(Pack.objects.values_list("key", "crc32")), FilesystemStore.head
    monkeypatch.setattr(FilesystemStore, "head", lambda self, key: replace(real(self, key), crc32=told[key]))
