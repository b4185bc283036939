"""How much of a stored copy is proven when, and what the rows say of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pytest_django import Settings

from hibernation.box.jobs import JobProgress
from hibernation.domain.states import OperationState, SnapshotState
from hibernation.models import Instance, Operation, Pack
from hibernation.services import proving
from hibernation.services.requests import request_snapshot
from hibernation.services.steps import verification
from hibernation.snapshots import verification as pure
from hibernation.snapshots.verification import Examiner
from tests.hibernation.services.world import World

pytestmark = pytest.mark.django_db
Reads = list[tuple[str, bool]]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reads]:
    """Which packs are read back, and whether they are decoded."""
    seen: Reads = []
    real = Examiner.prove

    def noted(self: Examiner, key: str, *, decode: bool) -> None:
        seen.append((key, decode))
        real(self, key, decode=decode)

    monkeypatch.setattr(Examiner, "prove", noted)
    yield seen
    verification._unfinished.clear()


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """One pack is already more than a few, and no amount is small."""
    monkeypatch.setattr(pure, "FEW_PACKS", 0)
    monkeypatch.setattr(pure, "FEW_BYTES", 0)
    monkeypatch.setattr(pure, "SHARE", 0.5)


def second(world: World, instance: Instance) -> Operation:
    """Woken elsewhere, with some packs more, and about to be proven again."""
    world.run(world.wake(instance))
    for name in ("a.so", "b.bin"):
        (world.box(instance).workspace / name).write_bytes(name.encode() * (1 << 18))
    return world.run(world.hibernate(instance), until="verify")


def attest(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store says that it received what was announced."""
    from hibernation.snapshots.filesystem import FilesystemStore

    told = dict(Pack.objects.values_list("key", "crc32"))
    real = FilesystemStore.head

    def head(self: FilesystemStore, key: str) -> object:
        info = real(self, key)
        return info and replace(info, crc32=told[key])

    monkeypatch.setattr(FilesystemStore, "head", head)


def test_before_the_first_rental_ends_every_pack_is_decoded(world: World, reads: Reads, strict: None) -> None:
    instance = world.asleep()
    snapshot = instance.snapshot
    assert snapshot is not None
    assert set(reads) == {(key, True) for key in snapshot.packs.values_list("key", flat=True)}
    said = snapshot.report["verification"]
    count = snapshot.packs.count()
    assert (said["rule"], said["packs"], said["read_back"], said["decoded"]) == ("full", count, count, count)
    verified = instance.events.get(event_type="snapshot_verified")
    assert verified.data == {"packs": count, "packs_decoded": count}


def test_later_a_sample_is_decoded_and_all_that_is_new_is_read(
    world: World, reads: Reads, strict: None
) -> None:
    instance = world.asleep()
    operation = second(world, instance)
    reads.clear()
    assert world.run(operation).state == OperationState.SUCCEEDED, operation.error
    decoded = [key for key, decode in reads if decode]
    assert 0 < len(decoded) < len(reads)
    assert operation.snapshot is not None
    operation.snapshot.refresh_from_db()
    said = operation.snapshot.report["verification"]
    assert (said["rule"], said["packs"]) == ("sampled", operation.snapshot.packs.count())
    assert said["decoded"] < said["packs"]
    assert not operation.snapshot.packs.filter(verified_at__isnull=True).exists()


def test_the_settings_can_ask_for_all_of_it(
    world: World, reads: Reads, strict: None, settings: Settings
) -> None:
    settings.DUMONT_VERIFY = "full"
    operation = second(world, world.asleep())
    reads.clear()
    world.run(operation)
    assert len(reads) > 1
    assert all(decode for _, decode in reads)


def test_what_the_store_attests_is_not_read_again(
    world: World, reads: Reads, strict: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation = second(world, world.asleep())
    reads.clear()
    attest(monkeypatch)
    world.run(operation)
    assert operation.state == OperationState.SUCCEEDED, operation.error
    assert reads
    assert all(decode for _, decode in reads)
    assert operation.snapshot is not None
    operation.snapshot.refresh_from_db()
    said = operation.snapshot.report["verification"]
    assert said["attested"] == said["packs"]
    assert said["read_back"] == 0


def test_a_pack_of_which_other_things_are_said_now_counts_as_undecoded(world: World, reads: Reads) -> None:
    operation = second(world, world.asleep())
    Pack.objects.update(proof="of other claims")
    reads.clear()
    world.run(operation)
    assert operation.snapshot is not None
    assert set(reads) == {(key, True) for key in operation.snapshot.packs.values_list("key", flat=True)}


def test_bytes_that_were_right_long_ago_are_read_again_and_not_decoded_again(
    world: World, reads: Reads
) -> None:
    instance = world.asleep()
    assert instance.snapshot is not None
    old = set(instance.snapshot.packs.values_list("key", flat=True))
    world.run(world.wake(instance))
    world.pass_time(timedelta(days=8).total_seconds())
    operation = world.run(world.hibernate(instance), until="verify")
    reads.clear()
    world.run(operation)
    assert {key for key, decode in reads if not decode} == old


def test_a_long_proof_goes_on_from_slice_to_slice(
    world: World, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation = world.run(world.hibernate(world.awake()), until="verify")
    monkeypatch.setattr(verification, "SLICE", timedelta(0))
    monkeypatch.setattr(verification, "_AT_LEAST", 0.0)
    world.step(operation)
    assert (operation.step, reads) == ("verify", [])
    assert operation.progress["packs_done"] == 0
    assert operation.progress["bytes_total"] > 0
    opened: list[object] = []
    monkeypatch.setattr(proving, "read_manifest", lambda *a: opened.append(a))
    monkeypatch.setattr(verification, "_AT_LEAST", 5.0)
    world.step(operation)
    assert operation.step == "fence"
    assert opened == []
    assert operation.snapshot is not None
    assert operation.snapshot.state == SnapshotState.VERIFIED


def test_the_sample_is_the_same_in_every_slice_and_another_for_every_snapshot(
    world: World, strict: None
) -> None:
    instance = world.asleep()
    operation = second(world, instance)
    context = verification.Context(operation, operation.instance)
    assert context.snapshot.frozen_at is not None
    prover = proving.Prover.open(context.snapshot)
    first = verification._tally(prover, False)
    assert verification._tally(prover, False).pending == first.pending
    chosen = [key for key, decode in first.pending.items() if decode]
    proven = dict(prover.prove(dict.fromkeys(chosen, True), until=float("inf")))
    assert proven == dict.fromkeys(chosen)
    after = verification._tally(prover, False)
    assert not any(after.pending.values())
    assert set(after.pending) == set(first.pending) - set(chosen)


def lying(world: World, instance: Instance, monkeypatch: pytest.MonkeyPatch, **told: Any) -> None:
    """The machine stores one thing and tells another."""
    box = world.box(instance)
    real = box._work

    def work(job: str, spec: Any) -> JobProgress:
        seen = real(job, spec)
        return replace(seen, result={**(seen.result or {}), **told})

    monkeypatch.setattr(box, "_work", work)


@pytest.mark.parametrize("told", [{"files": 3}, {"bytes_logical": 1}])
def test_no_rental_ends_on_a_copy_that_a_wake_would_refuse(
    world: World, monkeypatch: pytest.MonkeyPatch, told: dict[str, int]
) -> None:
    instance = world.awake()
    lying(world, instance, monkeypatch, **told)
    operation = world.run(world.hibernate(instance))
    assert operation.error_code == "snapshot_unproven"
    assert world.provider.calls("destroy") == []


def test_no_rental_ends_on_a_copy_that_lacks_more_than_was_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = world.awake()
    real = proving.read_manifest
    monkeypatch.setattr(proving, "read_manifest", lambda *a: replace(real(*a), unreadable_total=1))
    operation = world.run(world.hibernate(instance))
    assert operation.error_code == "snapshot_unproven"
    assert world.provider.calls("destroy") == []


def test_an_earlier_snapshot_does_not_pass_for_this_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = world.awake()
    first = world.run(request_snapshot(instance.pk, actor="user:ana", reason="asked"))
    assert first.snapshot is not None
    (world.box(instance).workspace / "notes.txt").write_text("HELLO")
    manifest = {
        "key": first.snapshot.manifest_key,
        "size": first.snapshot.manifest_size,
        "sha256": first.snapshot.manifest_sha256,
        "id": first.snapshot.manifest_id,
    }
    lying(world, instance, monkeypatch, manifest=manifest)
    operation = world.run(world.hibernate(instance))
    assert operation.error_code == "snapshot_unproven"
    assert world.provider.calls("destroy") == []
