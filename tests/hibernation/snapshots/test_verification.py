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
from hibernation.domain.errors import SnapshotUnproven
from hibernation.snapshots.manifest import check_manifest_complete, read_manifest
from hibernation.snapshots.verification import check_objects, pack_claims, verify_pack
from tests.agents.snapshot.harness import KEYS, Box, Cloud, serve_cloud


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


def expected(frozen: dict[str, Any]) -> dict[str, tuple[int, str]]:
    return {pack["key"]: (pack["size"], pack["sha256"]) for pack in frozen["packs_new"]}


def unproven(act: Callable[[], object]) -> str:
    with pytest.raises(SnapshotUnproven) as failure:
        act()
    return failure.value.message


def test_a_whole_snapshot_is_proven(cloud: Cloud, frozen: dict[str, Any], manifest: Manifest) -> None:
    check_manifest_complete(manifest)
    check_objects(cloud.store, manifest, expected(frozen))
    proofs = [verify_pack(cloud.store, manifest, key, KEYS, decode=True) for key in frozen["packs_all"]]
    assert sum(proof.chunks for proof in proofs) == len(manifest.chunks) == 3
    assert {(p.key, p.size, p.sha256) for p in proofs} == {
        (p["key"], p["size"], p["sha256"]) for p in frozen["packs_new"]
    }
    assert verify_pack(cloud.store, manifest, frozen["packs_all"][0], KEYS, decode=False).chunks == 0


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


def test_a_pack_we_did_not_sign_for_is_unproven(
    cloud: Cloud, frozen: dict[str, Any], manifest: Manifest
) -> None:
    known = expected(frozen)
    key, (size, sha256) = known.popitem()
    assert key in unproven(lambda: check_objects(cloud.store, manifest, known))
    for other in ((size + 1, sha256), (size, "0" * 64)):
        wrong = {**known, key: other}
        assert key in unproven(lambda w=wrong: check_objects(cloud.store, manifest, w))


def test_a_missing_or_short_pack_is_unproven(
    cloud: Cloud, frozen: dict[str, Any], manifest: Manifest
) -> None:
    key = frozen["packs_all"][0]
    path = cloud.object_path(key)
    os.truncate(path, path.stat().st_size - 1)
    assert key in unproven(lambda: check_objects(cloud.store, manifest, expected(frozen)))
    assert key in unproven(lambda: verify_pack(cloud.store, manifest, key, KEYS, decode=False))
    path.unlink()
    assert "missing" in unproven(lambda: check_objects(cloud.store, manifest, expected(frozen)))
    assert "missing" in unproven(lambda: verify_pack(cloud.store, manifest, key, KEYS, decode=False))


def test_a_flipped_bit_is_unproven(cloud: Cloud, frozen: dict[str, Any], manifest: Manifest) -> None:
    for key in frozen["packs_all"]:
        path = cloud.object_path(key)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        assert "sha256" in unproven(lambda k=key: verify_pack(cloud.store, manifest, k, KEYS, decode=False))


def test_a_chunk_or_file_with_another_id_is_unproven(
    cloud: Cloud, frozen: dict[str, Any], manifest: Manifest
) -> None:
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
        assert word in unproven(lambda m=lie: verify_pack(cloud.store, m, pack, KEYS, decode=True))


def test_the_claims_about_a_pack_change_with_anything_said_of_its_content(manifest: Manifest) -> None:
    claims = pack_claims(manifest)
    assert set(claims) == {pack.key for pack in manifest.packs}
    chunk = dataclasses.replace(
        manifest, chunks=[manifest.chunks[0]._replace(length=1), *manifest.chunks[1:]]
    )
    assert pack_claims(chunk) != claims
    files = [file._replace(hash="0" * 64) if file.hash else file for file in manifest.files]
    assert pack_claims(dataclasses.replace(manifest, files=files)) != claims
    assert pack_claims(dataclasses.replace(manifest, snapshot="another", created_at="later")) == claims


def test_a_pack_outside_the_manifest_is_unproven(cloud: Cloud, manifest: Manifest) -> None:
    assert "x/y" in unproven(lambda: verify_pack(cloud.store, manifest, "x/y", KEYS, decode=True))


def test_an_upload_that_claimed_success_with_wrong_bytes_is_found(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = Box(tmp_path / "two", cloud)
    (box.workspace / "data").write_bytes(os.urandom(5000))
    real = cloud.store._store

    def rot(path: Path, stream: Any, size: int, sha256: str) -> None:
        real(path, stream, size, sha256)
        if "pack" in path.name:
            path.write_bytes(b"\0" * size)

    monkeypatch.setattr(cloud.store, "_store", rot)
    frozen = box.freeze("s9")
    manifest = read_manifest(cloud.store, ManifestRef(**frozen["manifest"]), KEYS)
    check_objects(cloud.store, manifest, expected(frozen))
    unproven(lambda: verify_pack(cloud.store, manifest, frozen["packs_all"][0], KEYS, decode=False))
