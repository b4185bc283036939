"""A snapshot counts only if its stored bytes prove it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agents.snapshot.cipher import Keys
from agents.snapshot.format import Manifest, ManifestRef
from hibernation.domain.errors import SnapshotUnproven, StoreError
from hibernation.snapshots.manifest import check_manifest_complete, read_manifest
from hibernation.snapshots.store import ObjectInfo
from hibernation.snapshots.verification import FEW_BYTES, FEW_PACKS, Examiner, choose_to_decode, pack_claims
from tests.agents.snapshot.harness import KEYS, Box, Cloud, same_crc, serve_cloud


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    with serve_cloud(tmp_path / "store") as cloud:
        yield cloud


@pytest.fixture
def frozen(tmp_path: Path, cloud: Cloud) -> dict[str, Any]:
    box = Box(tmp_path / "box", cloud)
    for number in range(20):
        (box.workspace / f"m{number}.py").write_text(f"value = {number}\n" * 50)
    (box.workspace / "weights.bin").write_bytes(os.urandom(9 << 20))
    return box.freeze("s1")


@pytest.fixture
def ref(frozen: dict[str, Any]) -> ManifestRef:
    return ManifestRef(**frozen["manifest"])


@pytest.fixture
def manifest(cloud: Cloud, ref: ManifestRef) -> Manifest:
    return read_manifest(cloud.store, ref, KEYS)


@pytest.fixture
def examiner(cloud: Cloud, manifest: Manifest) -> Examiner:
    return Examiner(cloud.store, manifest, KEYS)


def faults(examiner: Examiner) -> dict[str, str]:
    return {fault.key: fault.why for fault in examiner.look().faults}


def unproven(act: Callable[[], object]) -> str:
    with pytest.raises(SnapshotUnproven) as failure:
        act()
    return failure.value.message


def test_a_whole_snapshot_is_proven(examiner: Examiner, manifest: Manifest) -> None:
    check_manifest_complete(manifest)
    assert examiner.look().faults == ()
    keys = [pack.key for pack in manifest.packs]
    assert len(keys) > 1
    ended = dict(examiner.prove_all((key, True) for key in keys))
    assert ended == dict.fromkeys(keys)


def test_a_manifest_that_changed_is_not_read(cloud: Cloud, ref: ManifestRef) -> None:
    path = cloud.object_path(ref.key)
    good = path.read_bytes()
    for bad in (good[:-1], good + b"x", bytes([good[0] ^ 1]) + good[1:]):
        path.write_bytes(bad)
        assert ref.key in unproven(lambda: read_manifest(cloud.store, ref, KEYS))
    path.unlink()
    assert "missing" in unproven(lambda: read_manifest(cloud.store, ref, KEYS))


@pytest.mark.parametrize("change", [{"sha256": "0" * 64}, {"id": "0" * 64}, {"size": 1 << 40}, {"size": 0}])
def test_another_manifest_than_recorded_is_refused(
    cloud: Cloud, ref: ManifestRef, change: dict[str, Any]
) -> None:
    assert ref.key in unproven(lambda: read_manifest(cloud.store, dataclasses.replace(ref, **change), KEYS))


def test_a_manifest_of_another_key_is_refused(cloud: Cloud, ref: ManifestRef) -> None:
    for keys in (Keys(KEYS.id, b"x" * 32), Keys(b"x" * 32, KEYS.cipher)):
        assert ref.key in unproven(lambda k=keys: read_manifest(cloud.store, ref, k))


def test_a_file_that_its_chunks_do_not_cover_is_unproven(manifest: Manifest) -> None:
    file = manifest.files[0]
    short = dataclasses.replace(manifest, files=[file._replace(size=file.size + 1), *manifest.files[1:]])
    assert file.path in unproven(lambda: check_manifest_complete(short))


def test_a_missing_or_short_pack_is_unproven(
    cloud: Cloud, frozen: dict[str, Any], examiner: Examiner
) -> None:
    key = frozen["packs_all"][0]
    path = cloud.object_path(key)
    os.truncate(path, path.stat().st_size - 1)
    assert list(faults(examiner)) == [key]
    assert "were frozen" in unproven(lambda: examiner.prove(key, decode=False))
    path.unlink()
    assert "missing" in faults(examiner)[key]
    assert "missing" in unproven(lambda: examiner.prove(key, decode=False))


def test_a_pack_that_is_too_long_is_unproven(
    cloud: Cloud, frozen: dict[str, Any], examiner: Examiner
) -> None:
    key = frozen["packs_all"][0]
    with cloud.object_path(key).open("ab") as file:
        file.write(b"x")
    assert "more than" in unproven(lambda: examiner.prove(key, decode=False))


def test_what_the_store_attests_needs_no_reading_and_what_it_denies_is_unproven(
    cloud: Cloud, examiner: Examiner, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert examiner.look().attested == frozenset()
    told = {pack.key: pack.crc32 for pack in manifest.packs}
    real = cloud.store.head

    def head(key: str) -> ObjectInfo | None:
        info = real(key)
        return info and dataclasses.replace(info, crc32=told[key])

    monkeypatch.setattr(cloud.store, "head", head)
    assert examiner.look().attested == set(told)
    bad = manifest.packs[0].key
    told[bad] = "0" * 8
    assert "received other bytes" in faults(examiner)[bad]
    assert examiner.look().attested == set(told) - {bad}


def test_a_flipped_bit_is_unproven(cloud: Cloud, frozen: dict[str, Any], examiner: Examiner) -> None:
    for key in frozen["packs_all"]:
        path = cloud.object_path(key)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    ended = dict(examiner.prove_all((key, False) for key in frozen["packs_all"]))
    assert all("crc32" in str(error) for error in ended.values())
    assert set(ended) == set(frozen["packs_all"])


def test_a_pack_forged_to_its_own_crc_is_unproven_once_it_is_decoded(
    cloud: Cloud, frozen: dict[str, Any], examiner: Examiner
) -> None:
    for key in frozen["packs_all"]:
        path = cloud.object_path(key)
        data = path.read_bytes()
        path.write_bytes(data[:10] + same_crc(data[10:15]) + data[15:])
        examiner.prove(key, decode=False)
        assert "does not decode" in unproven(lambda k=key: examiner.prove(k, decode=True))


def test_a_store_that_fails_says_nothing_about_the_pack(
    cloud: Cloud, frozen: dict[str, Any], examiner: Examiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(key: str) -> Any:
        raise StoreError("out of order")

    monkeypatch.setattr(cloud.store, "open", broken)
    with pytest.raises(StoreError, match="out of order"):
        list(examiner.prove_all([(frozen["packs_all"][0], True)]))


def test_a_chunk_or_file_with_another_id_is_unproven(cloud: Cloud, manifest: Manifest) -> None:
    bundle = next(n for n, chunk in enumerate(manifest.chunks) if chunk.length < 1 << 20)
    pack = manifest.packs[manifest.chunks[bundle].pack].key
    chunks = list(manifest.chunks)
    chunks[bundle] = chunks[bundle]._replace(id="0" * 64)
    files = [file._replace(hash="1" * 64) if file.hash else file for file in manifest.files]
    undecodable = list(manifest.chunks)
    undecodable[bundle] = undecodable[bundle]._replace(length=7)
    for lie, word in (
        (dataclasses.replace(manifest, chunks=chunks), "0000"),
        (dataclasses.replace(manifest, files=files), "m0.py"),
        (dataclasses.replace(manifest, chunks=undecodable), "does not decode"),
    ):
        examiner = Examiner(cloud.store, lie, KEYS)
        assert word in unproven(lambda e=examiner: e.prove(pack, decode=True))
        examiner.prove(pack, decode=False)


def test_the_files_of_a_pack_are_named(examiner: Examiner, manifest: Manifest) -> None:
    named = [path for pack in manifest.packs for path in examiner.files_in(pack.key)]
    assert sorted(named) == sorted(file.path for file in manifest.files)
    assert examiner.files_in("x/y") == []


def test_few_or_small_packs_are_all_decoded() -> None:
    few = {f"p/{n}": FEW_BYTES for n in range(FEW_PACKS)}
    small = {f"p/{n}": 1 << 20 for n in range(1000)}
    for undecoded in (few, small, {}):
        assert choose_to_decode(undecoded, b"secret", everything=False) == set(undecoded)


@pytest.mark.parametrize(("packs", "chosen"), [(9, 8), (80, 8), (81, 9), (1000, 100)])
def test_of_many_packs_a_tenth_is_decoded_that_only_the_secret_tells(packs: int, chosen: int) -> None:
    undecoded = {f"p/{n}": FEW_BYTES for n in range(packs)}
    first = choose_to_decode(undecoded, b"secret", everything=False)
    assert len(first) == chosen
    assert first == choose_to_decode(undecoded, b"secret", everything=False)
    assert first != choose_to_decode(undecoded, b"another", everything=False)
    assert choose_to_decode(undecoded, b"secret", everything=True) == set(undecoded)


def test_the_claims_about_a_pack_change_with_anything_said_of_its_content(manifest: Manifest) -> None:
    claims = pack_claims(manifest)
    assert set(claims) == {pack.key for pack in manifest.packs}
    chunk = dataclasses.replace(
        manifest, chunks=[manifest.chunks[0]._replace(length=1), *manifest.chunks[1:]]
    )
    assert pack_claims(chunk) != claims
    pack = dataclasses.replace(
        manifest, packs=[manifest.packs[0]._replace(crc32="0" * 8), *manifest.packs[1:]]
    )
    assert pack_claims(pack) != claims
    files = [file._replace(hash="0" * 64) if file.hash else file for file in manifest.files]
    assert pack_claims(dataclasses.replace(manifest, files=files)) != claims
    assert pack_claims(dataclasses.replace(manifest, snapshot="another", created_at="later")) == claims


def test_a_pack_outside_the_manifest_is_unproven(examiner: Examiner) -> None:
    assert "x/y" in unproven(lambda: examiner.prove("x/y", decode=True))


def test_an_upload_that_claimed_success_with_wrong_bytes_is_found(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = Box(tmp_path / "two", cloud)
    (box.workspace / "data").write_bytes(os.urandom(5000))
    real = cloud.store._store

    def rot(path: Path, stream: Any, size: int, crc32: str) -> None:
        real(path, stream, size, crc32)
        if "pack" in path.name:
            path.write_bytes(b"\0" * size)

    monkeypatch.setattr(cloud.store, "_store", rot)
    frozen = box.freeze("s9")
    manifest = read_manifest(cloud.store, ManifestRef(**frozen["manifest"]), KEYS)
    examiner = Examiner(cloud.store, manifest, KEYS)
    assert examiner.look().faults == ()
    unproven(lambda: examiner.prove(frozen["packs_all"][0], decode=False))
