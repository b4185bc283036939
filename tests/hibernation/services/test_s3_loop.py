"""The whole loop on a bucket: the real freeze and thaw, URLs from the real API, an S3 that checks every signature."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any, cast

import pytest
import urllib3
from django.core.management import call_command
from django.test import Client
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from agents.snapshot.spec import FreezeSpec, ThawSpec
from agents.snapshot.transfer import Retry, Transfer
from hibernation.domain.states import InstanceStatus, OperationState, SnapshotState
from hibernation.models import Instance, Operation, Pack, Snapshot
from hibernation.services.collect import collect
from hibernation.services.retention import delete_snapshot
from hibernation.services.steps import verification
from hibernation.snapshots.registry import get_store
from hibernation.snapshots.s3 import S3Store
from hibernation.snapshots.store import SignedRequest
from tests.fakes.s3 import Bucket, serve_s3
from tests.hibernation.services.box import FakeBox, tree
from tests.hibernation.services.world import World

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.network]
PREFIX = "dumont/eu"
MODEL = random.Random(7).randbytes(3 << 20)


class Box(FakeBox):
    """Asks the control plane for URLs and moves the bytes itself, as the agent does."""

    def transfer(self, spec: FreezeSpec | ThawSpec) -> Transfer:
        retry = Retry(attempts=6, first=0.01, longest=0.1)
        return Transfer(spec.control_url, spec.token_file, spec.snapshot, retry=retry)

    def announce(self, transfer: Transfer) -> None:
        """The API has written the rows."""
        transfer.close()


@pytest.fixture
def attach(world: World, live_server: LiveServer, settings: Settings) -> Iterator[Callable[..., Bucket]]:
    """Make a served bucket the installation's store, as its settings would."""
    world.box_class = Box
    settings.DUMONT_BASE_URL = live_server.url

    def use(bucket: Bucket, **options: Any) -> Bucket:
        right = {
            "DUMONT_STORE": "s3",
            "DUMONT_S3_BUCKET": bucket.name,
            "DUMONT_S3_ENDPOINT": bucket.url,
            "DUMONT_S3_REGION": bucket.account.region,
            "DUMONT_S3_ACCESS_KEY_ID": bucket.account.access_key_id,
            "DUMONT_S3_SECRET_ACCESS_KEY": bucket.account.secret_access_key,
            "DUMONT_S3_PREFIX": PREFIX,
            "DUMONT_S3_PATH_STYLE": True,
        }
        for name, value in {**right, **options}.items():
            setattr(settings, name, value)
        get_store.cache_clear()
        return bucket

    yield use
    cast(S3Store, get_store()).close()
    verification._unfinished.clear()


@pytest.fixture
def bucket(attach: Callable[..., Bucket]) -> Iterator[Bucket]:
    with serve_s3() as served:
        yield attach(served)


@pytest.fixture
def b2(attach: Callable[..., Bucket]) -> Iterator[Bucket]:
    with serve_s3(plain=True) as served:
        yield attach(served, DUMONT_S3_CHECKSUM="none", DUMONT_S3_WRITE_ONCE=False)


@pytest.fixture
def puts(monkeypatch: pytest.MonkeyPatch) -> list[SignedRequest]:
    """Every URL to store something that was given away."""
    given: list[SignedRequest] = []
    real = S3Store.sign_put

    def sign(self: S3Store, key: str, **what: Any) -> SignedRequest:
        given.append(real(self, key, **what))
        return given[-1]

    monkeypatch.setattr(S3Store, "sign_put", sign)
    return given


def awake(world: World) -> Instance:
    instance = world.awake()
    (world.box(instance).workspace / "data" / "big.bin").write_bytes(MODEL)
    return instance


def hibernated(world: World, instance: Instance) -> Snapshot:
    operation = world.run(world.hibernate(instance))
    assert operation.state == OperationState.SUCCEEDED, operation.error
    instance.refresh_from_db()
    assert instance.snapshot is not None
    assert instance.status == InstanceStatus.HIBERNATED
    return instance.snapshot


def keys(snapshot: Snapshot) -> set[str]:
    return set(snapshot.packs.values_list("key", flat=True))


def named(found: set[str]) -> set[str]:
    return {f"{PREFIX}/{key}" for key in found}


def read(bucket: Bucket) -> set[str]:
    """The packs of which anybody read anything."""
    return {key for method, key in bucket.asked if method == "GET" and "/packs/" in key}


def sent(bucket: Bucket) -> set[str]:
    return {key for method, key in bucket.asked if method == "PUT" and "/packs/" in key}


def refused(world: World, operation: Operation, why: str) -> None:
    """It ended without a proof, and so without a destroy."""
    world.run(operation)
    assert (operation.state, operation.error_code) == (OperationState.FAILED, "snapshot_unproven")
    assert why in operation.error
    assert world.provider.calls("destroy") == []
    assert operation.instance.machines.get().state == "active"


def waits(world: World, operation: Operation, why: str) -> None:
    """The store said nothing about the copy: nothing is destroyed, nothing is given up."""
    for _ in range(3):
        world.step(operation)
    assert (operation.state, operation.step) == (OperationState.RUNNING, "verify")
    assert why in operation.waiting_for
    assert operation.snapshot is not None
    assert operation.snapshot.state == SnapshotState.FROZEN
    assert world.provider.calls("destroy") == []


def test_there_and_back_twice(world: World, bucket: Bucket) -> None:
    instance = awake(world)
    before = tree(world.box(instance).workspace)
    first = hibernated(world, instance)
    said = first.report["verification"]
    assert (said["attested"], said["read_back"], said["rule"]) == (said["packs"], 0, "full")
    assert said["decoded"] == said["packs"] > 0
    assert sent(bucket) == read(bucket) == named(keys(first))

    world.run(world.wake(instance))
    workspace = world.box(instance).workspace
    assert tree(workspace) == before
    bucket.asked.clear()
    (workspace / "new.txt").write_text("the day after")
    second = hibernated(world, instance)
    added = keys(second) - keys(first)
    assert keys(first) < keys(second)
    assert sent(bucket) == named(added)
    assert sum(Pack.objects.filter(key__in=added).values_list("size", flat=True)) < 1000
    assert read(bucket) == named(added)
    said = second.report["verification"]
    assert (said["attested"], said["read_back"], said["rule"]) == (said["packs"], 0, "sampled")


def test_a_stored_snapshot_is_read_drilled_and_proven_anew(
    world: World, bucket: Bucket, api: Client, tmp_path: Path
) -> None:
    instance = awake(world)
    snapshot = hibernated(world, instance)
    at = f"/api/instances/{instance.pk}/snapshots/{snapshot.name}/files"
    listed = api.get(at, {"path": "data"}).json()
    assert {entry["name"] for entry in listed["entries"]} == {"big.bin", "model.bin"}
    reply = api.get(f"{at}/content", {"path": "data/big.bin"})
    assert b"".join(cast(Any, reply).streaming_content) == MODEL
    (into := tmp_path / "room").mkdir()
    out = StringIO()
    call_command("drill_snapshot", snapshot.name, "--into", str(into), stdout=out)
    assert "differences  0" in out.getvalue()
    call_command("verify_snapshot", snapshot.name, "--full", stdout=out)
    assert f"✓ {snapshot.name}" in out.getvalue()


def test_garbage_and_strays_go_and_what_is_not_ours_stays(world: World, bucket: Bucket) -> None:
    instance = awake(world)
    first = hibernated(world, instance)
    world.run(world.wake(instance))
    (world.box(instance).workspace / "data" / "big.bin").write_bytes(MODEL[::-1])
    second = hibernated(world, instance)
    only = named((keys(first) - keys(second)) | {first.manifest_key})
    delete_snapshot(instance.pk, first.name, actor="user:ana")
    world.pass_time(timedelta(hours=49).total_seconds())
    assert len(only) > 1
    assert collect().objects == len(only)
    assert bucket.objects.keys() == named(keys(second) | {second.manifest_key})

    foreign = {"other/packs/x", f"{PREFIX}/{instance.pk}/packs/mine", f"{instance.pk}/packs/{'0' * 32}"}
    stray = f"{PREFIX}/{instance.pk}/packs/{'0' * 32}"
    for key in [*foreign, stray]:
        bucket.put(key, b"x", at=datetime.now(UTC) - timedelta(hours=49))
    call_command("collect_garbage", "--strays", stdout=StringIO())
    assert bucket.objects.keys() == foreign | named(keys(second) | {second.manifest_key})


def test_uploads_go_on_through_what_passes(world: World, bucket: Bucket) -> None:
    instance = awake(world)
    before = tree(world.box(instance).workspace)
    operation = world.run(world.hibernate(instance), until="freeze")
    bucket.faults.extend(["slow down", "lost", "drop", "slow down", "lost"])
    world.run(operation)
    assert operation.state == OperationState.SUCCEEDED, operation.error
    assert not bucket.faults
    world.run(world.wake(instance), until="thaw")
    bucket.faults.extend(["slow down", "cut", "drop"])
    world.run(instance.operations.get(state=OperationState.RUNNING))
    assert tree(world.box(instance).workspace) == before


def test_a_url_that_expired_is_replaced_and_its_key_with_it(
    world: World, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = awake(world)
    operation = world.run(world.hibernate(instance), until="freeze")
    late = [timedelta(hours=2)]
    monkeypatch.setattr(
        bucket, "now", lambda: datetime.now(UTC) + (late.pop() if late else timedelta()), raising=False
    )
    world.run(operation)
    assert operation.state == OperationState.SUCCEEDED, operation.error
    assert not late
    assert Pack.objects.count() == len(bucket.objects) + 1


@pytest.mark.parametrize("lost", [False, True])
def test_a_refusal_says_nothing_about_the_copy(world: World, bucket: Bucket, lost: bool) -> None:
    """Without the right to list, S3 does not tell what is missing from what is forbidden."""
    operation = world.run(world.hibernate(awake(world)), until="verify")
    if lost:
        gone = bucket.objects.pop(next(key for key in bucket.objects if "/packs/" in key))
        bucket.denied = {"s3:ListBucket"}
    else:
        bucket.denied = {"s3:GetObject"}
    waits(world, operation, "AccessDenied")
    bucket.denied = set()
    if lost:
        assert gone.data
        refused(world, operation, "missing")
    else:
        assert world.run(operation).state == OperationState.SUCCEEDED, operation.error


def test_a_bucket_that_is_gone_holds_everything(world: World, bucket: Bucket) -> None:
    operation = world.run(world.hibernate(awake(world)), until="verify")
    name, bucket.name = bucket.name, "another"
    waits(world, operation, "NoSuchBucket")
    bucket.name = name
    assert world.run(operation).state == OperationState.SUCCEEDED, operation.error


@pytest.mark.parametrize("which", ["packs", "manifests"])
def test_what_is_missing_is_no_proof(world: World, bucket: Bucket, which: str) -> None:
    operation = world.run(world.hibernate(awake(world)), until="verify")
    del bucket.objects[next(key for key in bucket.objects if f"/{which}/" in key)]
    refused(world, operation, "missing")


def test_other_bytes_are_refused_unread_where_the_store_attests(world: World, bucket: Bucket) -> None:
    operation = world.run(world.hibernate(awake(world)), until="verify")
    for key in sent(bucket):
        bucket.replace(key, bytes(len(bucket.objects[key].data)))
    refused(world, operation, "the store received other bytes (crc32)")
    assert read(bucket) == set()


def test_other_bytes_are_read_and_refused_where_it_does_not(world: World, b2: Bucket) -> None:
    operation = world.run(world.hibernate(awake(world)), until="verify")
    for key in sent(b2):
        b2.replace(key, bytes(len(b2.objects[key].data)))
    refused(world, operation, "the stored bytes are not the frozen ones (crc32)")


def test_there_and_back_where_the_store_promises_nothing(world: World, b2: Bucket) -> None:
    instance = awake(world)
    before = tree(world.box(instance).workspace)
    snapshot = hibernated(world, instance)
    said = snapshot.report["verification"]
    assert (said["attested"], said["read_back"]) == (0, said["packs"])
    assert b2.objects.keys() == named(keys(snapshot) | {snapshot.manifest_key})
    world.run(world.wake(instance))
    assert tree(world.box(instance).workspace) == before


def test_nothing_is_exchanged_after_the_proof_however_long_its_url_lives(
    world: World, b2: Bucket, puts: list[SignedRequest]
) -> None:
    instance = awake(world)
    before = tree(world.box(instance).workspace)
    operation = world.run(world.hibernate(instance), until="fence")
    proven = {key: stored.data for key, stored in b2.objects.items()}
    with urllib3.PoolManager(retries=False) as http:
        for signed in puts:
            stored = b2.objects[b2.key_of(signed.url).replace("/.incoming", "")]
            reply = http.request("PUT", signed.url, body=bytes(len(stored.data)), headers=signed.headers)
            assert reply.status == 200
    assert world.run(operation).state == OperationState.SUCCEEDED, operation.error
    assert {key: b2.objects[key].data for key in proven} == proven
    world.run(world.wake(instance))
    assert tree(world.box(instance).workspace) == before
    call_command("verify_snapshot", "--all", "--full", stdout=StringIO())


def test_copying_goes_on_from_slice_to_slice(
    world: World, b2: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation = world.run(world.hibernate(awake(world)), until="verify")
    monkeypatch.setattr(verification, "SLICE", timedelta(0))
    monkeypatch.setattr(verification, "_AT_LEAST", 0.0)
    world.step(operation)
    assert (operation.step, read(b2)) == ("verify", set())
    assert operation.progress["packs_done"] == 0
    monkeypatch.setattr(verification, "_AT_LEAST", 5.0)
    assert world.run(operation).state == OperationState.SUCCEEDED, operation.error
