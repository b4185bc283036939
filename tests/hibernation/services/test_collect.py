"""Collecting garbage: what is taken, what is not, and that neither a crash nor a race loses a needed object."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction

from hibernation.domain.errors import StoreError
from hibernation.models import Instance, Operation, Pack, Snapshot
from hibernation.services import collect as collecting
from hibernation.services.clock import db_now
from hibernation.services.collect import collect, condemn, garbage, tick
from hibernation.services.retention import delete_snapshot
from hibernation.services.storage import Storage, storage_of, storage_of_all
from hibernation.services.strays import strays
from hibernation.snapshots.registry import get_store
from tests.factories import make_instance, make_operation, make_pack, make_snapshot
from tests.hibernation.services.world import World

pytestmark = pytest.mark.django_db
OLD = timedelta(hours=49)


class Crash(Exception):
    """The process dies here."""


def put(key: str, data: bytes = b"abc") -> Path:
    path = get_store()._path(key)  # type: ignore[attr-defined]
    assert isinstance(path, Path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def pack_of(instance: Instance, age: timedelta = OLD, **more: Any) -> Pack:
    pack = make_pack(instance, created_at=db_now() - age, **more)
    put(pack.key)
    return pack


def is_stored(pack: Pack) -> bool:
    return get_store().head(pack.key) is not None


@pytest.fixture
def instance(world: World) -> Instance:
    return make_instance()


def test_what_nothing_needs_goes_with_its_row(instance: Instance) -> None:
    packs = [pack_of(instance), pack_of(instance, kind="manifest")]
    done = collect()
    assert (done.objects, done.bytes, done.failed) == (2, 6, [])
    assert not any(is_stored(pack) for pack in packs)
    assert not Pack.objects.exists()


def test_what_is_younger_than_the_grace_stays(instance: Instance) -> None:
    pack_of(instance, timedelta(hours=47))
    assert collect().objects == 0


@pytest.mark.parametrize("state", ["writing", "frozen", "verified", "failed"])
def test_what_a_snapshot_needs_stays(instance: Instance, state: str) -> None:
    pack, manifest = pack_of(instance), pack_of(instance, kind="manifest")
    make_snapshot(instance, state=state, manifest_key=manifest.key).packs.add(pack)
    assert collect().objects == 0


def test_what_only_a_deleted_snapshot_needed_goes(instance: Instance) -> None:
    shared, own, manifest = pack_of(instance), pack_of(instance), pack_of(instance, kind="manifest")
    gone = make_snapshot(instance, state="deleted", deleted_at=db_now(), manifest_key=manifest.key)
    gone.packs.add(shared, own)
    make_snapshot(instance).packs.add(shared)
    assert collect().objects == 2
    assert list(Pack.objects.all()) == [shared]
    assert is_stored(shared)


@pytest.mark.parametrize(("before", "taken"), [(timedelta(hours=47), 0), (timedelta(hours=50), 1)])
def test_a_frozen_snapshot_whose_packs_are_not_listed_holds_what_was_young_when_it_began(
    instance: Instance, before: timedelta, taken: int
) -> None:
    began = db_now() - timedelta(days=10)
    make_snapshot(instance, state="frozen", verified_at=None, created_at=began)
    pack_of(instance, timedelta(days=10) + before)
    assert collect().objects == taken


def test_nothing_is_condemned_while_an_operation_runs(instance: Instance) -> None:
    pack_of(instance)
    operation = make_operation(instance)
    assert collect().objects == 0
    Operation.objects.filter(pk=operation.pk).update(state="failed", finished_at=db_now())
    assert collect().objects == 1


def test_other_instances_are_left_alone_when_one_is_named(instance: Instance) -> None:
    pack_of(instance)
    other = pack_of(make_instance())
    assert collect(instance.pk).objects == 1
    assert is_stored(other)


def test_many_are_taken_in_batches(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "_BATCH", 2)
    for _ in range(5):
        pack_of(instance)
    assert collect().objects == 5


def test_a_run_without_time_leaves_the_rest_to_the_next(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "_BATCH", 2)
    for _ in range(5):
        pack_of(instance)
    assert collect(patience=timedelta(0)).objects == 2
    assert collect().objects == 3


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str], None]], None]:
    """Lets the store's ``delete`` first call something that may raise."""

    def replace(before: Callable[[str], None]) -> None:
        store = get_store()
        real = type(store).delete

        def delete(key: str) -> None:
            before(key)
            real(store, key)  # type: ignore[arg-type]

        monkeypatch.setattr(store, "delete", delete)

    return replace


def test_what_the_store_fails_to_delete_stays_condemned_and_is_tried_again(
    instance: Instance, failing: Any, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = pack_of(instance), pack_of(instance)

    def fail(key: str) -> None:
        if key == bad.key:
            raise StoreError("the store is out of order")

    failing(fail)
    done = collect()
    assert (done.objects, done.failed) == (1, [f"{bad.key}: the store is out of order"])
    assert "out of order" in caplog.text
    bad.refresh_from_db()
    assert bad.condemned_at is not None
    assert not is_stored(good)
    failing(lambda key: None)
    assert collect().objects == 1


def test_a_store_that_is_away_ends_the_run(
    instance: Instance, failing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "_BATCH", 2)
    asked: list[str] = []
    for _ in range(6):
        pack_of(instance)

    def fail(key: str) -> None:
        asked.append(key)
        raise StoreError("away")

    failing(fail)
    assert collect().objects == 0
    assert len(asked) == 2


def _crash_while_condemning(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the update, before its commit."""
    real = collecting.condemn.__wrapped__  # type: ignore[attr-defined]

    @transaction.atomic
    def condemn_and_die(instance_id: str) -> int:
        real(instance_id)
        raise Crash

    monkeypatch.setattr(collecting, "condemn", condemn_and_die)


def _crash_after_condemning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "_sweep", _die)


def _crash_while_deleting(monkeypatch: pytest.MonkeyPatch) -> None:
    """With some objects gone and every row there."""
    real, calls = collecting._delete, []

    def delete(store: Any, pack: Pack) -> Any:
        calls.append(pack)
        return real(store, pack) if len(calls) <= 2 else _die()

    monkeypatch.setattr(collecting, "_delete", delete)


def _crash_after_deleting(monkeypatch: pytest.MonkeyPatch) -> None:
    """With every object gone and every row there."""
    monkeypatch.setattr("django.db.models.query.QuerySet.delete", _die)


def _die(*_: Any) -> Any:
    raise Crash


@pytest.mark.parametrize(
    "crash",
    [_crash_while_condemning, _crash_after_condemning, _crash_while_deleting, _crash_after_deleting],
)
def test_the_next_run_finishes_what_a_crash_left(
    instance: Instance, monkeypatch: pytest.MonkeyPatch, crash: Callable[[pytest.MonkeyPatch], None]
) -> None:
    needed = pack_of(instance)
    make_snapshot(instance).packs.add(needed)
    unneeded = [pack_of(instance) for _ in range(4)]
    with monkeypatch.context() as patch:
        crash(patch)
        with pytest.raises(Crash):
            collect()
    # Whatever is stored still has its row: nothing is stored and billed that nobody knows.
    assert set(Pack.objects.all()) == {needed, *unneeded}
    collect()
    assert list(Pack.objects.all()) == [needed]
    assert is_stored(needed)
    assert not any(is_stored(pack) for pack in unneeded)


def test_a_hibernation_between_mark_and_sweep_refers_to_nothing_condemned(world: World) -> None:
    """The box remembers packs that are condemned meanwhile: what builds on them is refused, the machine kept."""
    instance = world.awake()
    operation = world.run(world.hibernate(instance), until="fence")
    Operation.objects.filter(pk=operation.pk).update(cancel_reason="superseded")
    world.run(operation)
    delete_snapshot(instance.pk, Snapshot.objects.get().name, actor="user:ana", last_copy=True)
    Pack.objects.update(created_at=db_now() - OLD)
    condemned = set(Pack.objects.values_list("key", flat=True))
    assert condemn(instance.pk) == len(condemned)
    refused = world.run(world.hibernate(instance))
    assert refused.error_code == "snapshot_unproven"
    assert instance.machines.get().state == "active"
    done = world.run(world.hibernate(instance))
    assert done.state == "succeeded", done.error
    assert collect().objects == len(condemned)
    last = Snapshot.objects.latest("pk")
    assert not condemned & {last.manifest_key, *last.packs.values_list("key", flat=True)}
    woken = world.run(world.wake(instance))
    assert woken.state == "succeeded", woken.error


def test_a_manifest_that_names_a_condemned_pack_is_not_proven(world: World) -> None:
    instance = world.awake()
    operation = world.run(world.hibernate(instance), until="verify")
    Pack.objects.filter(kind="pack").update(condemned_at=db_now())
    world.run(operation)
    operation.refresh_from_db()
    assert (operation.state, operation.error_code) == ("failed", "snapshot_unproven")
    assert instance.machines.get().state == "active"


def test_a_condemned_pack_that_is_needed_after_all_is_not_deleted(instance: Instance) -> None:
    pack = pack_of(instance)
    condemn(instance.pk)
    make_snapshot(instance).packs.add(pack)
    assert collect().objects == 0
    assert is_stored(pack)


def test_a_clock_that_jumps_ahead_takes_nothing_that_is_needed(world: World) -> None:
    instance = world.asleep()
    world.pass_time(10 * 365 * 86_400)
    tick()
    done = world.run(world.wake(instance))
    assert done.state == "succeeded", done.error


def test_a_clock_that_jumps_back_takes_nothing_at_all(instance: Instance) -> None:
    pack_of(instance, -timedelta(days=365))
    assert tick() == 0


def test_a_tick_applies_the_rules_and_collects(world: World) -> None:
    instance = world.asleep(keep_last=1, keep_daily=0)
    world.run(world.wake(instance))
    instance.refresh_from_db()
    (world.box(instance).workspace / "data" / "model.bin").write_bytes(os.urandom(100_000))
    world.run(world.hibernate(instance))
    before = set(Pack.objects.values_list("key", flat=True))
    Pack.objects.update(created_at=db_now() - OLD)
    assert tick() > 0
    first, second = Snapshot.objects.order_by("pk")
    assert (first.state, second.state) == ("deleted", "verified")
    stored = {one.key for one in get_store().list("")}
    assert stored == set(Pack.objects.values_list("key", flat=True)) < before
    done = world.run(world.wake(instance))
    assert done.state == "succeeded", done.error


def test_what_the_next_run_would_take_can_be_asked_for(instance: Instance) -> None:
    pack = pack_of(instance)
    young = pack_of(instance, timedelta(0))
    condemned = pack_of(instance, timedelta(0), condemned_at=db_now())
    assert set(garbage()) == set(garbage(instance.pk)) == {pack, condemned}
    assert not garbage("another").exists()
    assert is_stored(young)


def test_strays_are_only_what_is_old_unknown_and_named_by_us(instance: Instance) -> None:
    known = pack_of(instance, key=f"{instance.pk}/packs/{'0' * 32}")
    names = [
        f"{instance.pk}/packs/{'1' * 32}",
        f"{instance.pk}/packs/{'2' * 32}",
        f"{instance.pk}/packs/notes.txt",
        f"{instance.pk}/elsewhere/{'1' * 32}",
        f"{instance.pk}x/packs/{'1' * 32}",
        "readme",
    ]
    for name in names:
        put(name)
    for path in [*map(put, names), put(known.key)]:
        os.utime(path, (0, 0))
    put(names[1]).touch()
    assert [one.key for one in strays()] == [names[0]]
    assert [one.key for one in strays(instance.pk)] == [names[0]]
    assert strays("another") == []


def test_storage_counts_what_may_be_stored(instance: Instance) -> None:
    make_snapshot(instance)
    make_snapshot(instance, state="failed", verified_at=None)
    for condemned_at in (None, None, db_now()):
        make_pack(instance, condemned_at=condemned_at, size=5)
    make_pack(make_instance(), size=100)
    assert storage_of(instance) == Storage(bytes=10, objects=2, snapshots=1)
    assert storage_of(make_instance()) == Storage(0, 0, 0)
    assert storage_of_all(Pack.objects.all(), Snapshot.objects.all()) == Storage(
        bytes=110, objects=3, snapshots=1
    )


@pytest.fixture
def others() -> Iterator[list[threading.Thread]]:
    """Threads, each with its own connection."""
    threads: list[threading.Thread] = []
    yield threads
    for thread in threads:
        thread.join(timeout=30)
        assert not thread.is_alive()


def run_aside(others: list[threading.Thread], work: Callable[[], Any]) -> list[Any]:
    """Run ``work`` in a thread of its own; its result or error is appended when it is over."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(work())
        except Exception as error:
            results.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    others.append(thread)
    return results


@pytest.mark.django_db(transaction=True)
def test_two_runs_at_once_take_everything_once_and_do_no_harm(
    instance: Instance, others: list[threading.Thread]
) -> None:
    needed = pack_of(instance)
    make_snapshot(instance).packs.add(needed)
    for _ in range(30):
        pack_of(instance)
    results = [run_aside(others, collect) for _ in range(3)]
    for thread in others:
        thread.join(timeout=30)
    assert all(found[0].failed == [] for found in results)
    assert list(Pack.objects.all()) == [needed]
    assert is_stored(needed)


@pytest.mark.django_db(transaction=True)
def test_an_operation_that_begins_first_keeps_everything(
    instance: Instance, others: list[threading.Thread]
) -> None:
    """Whoever condemns waits for the instance's lock and looks again under it."""
    pack = pack_of(instance)
    with transaction.atomic():
        Instance.objects.select_for_update(no_key=True).get(pk=instance.pk)
        results = run_aside(others, lambda: condemn(instance.pk))
        make_operation(instance)
    others[0].join(timeout=30)
    assert results == [0]
    assert is_stored(pack)
