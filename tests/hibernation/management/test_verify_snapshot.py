"""The command that proves snapshots again: what it says of good, damaged and unreachable copies, and writes down."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from hibernation.api.serializers import explanation
from hibernation.domain.errors import StoreError
from hibernation.models import Instance, Pack, Snapshot
from hibernation.snapshots.filesystem import FilesystemStore
from tests.hibernation.services.world import World

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> tuple[str, bool]:
    """What it prints, and whether it ends well."""
    out, good = StringIO(), True
    try:
        call_command("verify_snapshot", *arguments, stdout=out)
    except CommandError:
        good = False
    return out.getvalue(), good


def snapshot_of(instance: Instance) -> Snapshot:
    instance.refresh_from_db()
    assert instance.snapshot is not None
    return instance.snapshot


@pytest.mark.parametrize("full", [[], ["--full"]])
def test_a_good_copy_is_proven_anew(world: World, full: list[str]) -> None:
    instance = world.asleep()
    snapshot = snapshot_of(instance)
    Pack.objects.update(verified_at=None, decoded_at=None, proof="")
    said, good = run(snapshot.name, *full)
    assert good
    assert said.startswith(f"✓ {snapshot.name}: {snapshot.packs.count()} packs")
    assert not snapshot.packs.filter(verified_at__isnull=True).exists()
    assert not snapshot.packs.filter(decoded_at__isnull=True).exists()
    assert snapshot_of(instance).report["verification"]["rule"] == ("full" if full else "sampled")


def test_every_damaged_pack_is_named_with_its_files(world: World) -> None:
    instance = world.asleep()
    snapshot = snapshot_of(instance)
    keys = list(snapshot.packs.values_list("key", flat=True))
    for key in keys:
        path = world.store_root / key
        path.write_bytes(bytes(byte ^ 1 for byte in path.read_bytes()))
    (world.store_root / keys[0]).unlink()
    said, good = run("--instance", instance.pk, "--json")
    assert not good
    verdict = json.loads(said)
    assert {one["key"] for one in verdict["damage"]} == set(keys)
    named = [path for one in verdict["damage"] for path in one["files"]]
    assert sorted(named) == ["data/model.bin", "notes.txt"]
    assert "missing" in {one["key"]: one["why"] for one in verdict["damage"]}[keys[0]]


def test_a_bad_last_copy_is_seen_and_a_good_one_takes_it_back(world: World) -> None:
    instance = world.asleep()
    snapshot = snapshot_of(instance)
    path = world.store_root / snapshot.packs.all()[0].key
    good = path.read_bytes()
    path.write_bytes(good[:-1])
    assert not run(snapshot.name)[1]
    said, _ = run(snapshot.name)
    assert said.startswith(f"✗ {snapshot.name}: 1 damaged")
    instance.refresh_from_db()
    assert snapshot.name in instance.last_error
    assert explanation(instance) == instance.last_error
    assert instance.events.filter(data__code="snapshot_damaged").count() == 1
    assert not Pack.objects.filter(key=snapshot.packs.all()[0].key, proof__gt="").exists()
    path.write_bytes(good)
    assert run("--all")[1]
    instance.refresh_from_db()
    assert (instance.last_error, snapshot_of(instance).state_reason) == ("", "")


def test_a_damaged_manifest_is_damage(world: World) -> None:
    snapshot = snapshot_of(world.asleep())
    (world.store_root / snapshot.manifest_key).unlink()
    said, good = run(snapshot.name)
    assert not good
    assert "is missing from the store" in said


def test_a_store_that_does_not_answer_says_nothing_about_the_copy(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = world.asleep()

    def broken(self: FilesystemStore, key: str) -> Any:
        raise StoreError("out of order")

    monkeypatch.setattr(FilesystemStore, "head", broken)
    said, good = run("--all")
    assert not good
    assert said.startswith("? ")
    assert snapshot_of(instance).state_reason == ""


@pytest.mark.parametrize("arguments", [["nothing"], ["--instance", "nobody"], []])
def test_nothing_to_prove_is_an_error(db: None, arguments: list[str]) -> None:
    with pytest.raises(CommandError):
        call_command("verify_snapshot", *arguments)
