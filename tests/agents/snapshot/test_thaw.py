"""What a thaw refuses, keeps, repairs and resumes."""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from agents.snapshot import fill, place, resume, room, thaw
from agents.snapshot.errors import SnapshotError
from agents.snapshot.format import DirRow
from agents.snapshot.place import Place
from agents.snapshot.resume import Work
from agents.snapshot.transfer import Transfer
from tests.agents.snapshot.harness import Box, Cloud, picture

MIB = 1 << 20


def wait_until_usable(work: Work) -> None:
    deadline = time.monotonic() + 20
    while not work.progress.facts.get("usable"):
        assert time.monotonic() < deadline, "it never became usable"
        time.sleep(0.005)


def unproven(other: Box, frozen: dict[str, Any]) -> str:
    with pytest.raises(SnapshotError) as failure:
        other.thaw(frozen)
    assert failure.value.code == "snapshot_unproven"
    return str(failure.value)


@pytest.mark.parametrize("field", ["sha256", "id"])
def test_nothing_is_written_for_another_manifest(other: Box, frozen: dict[str, Any], field: str) -> None:
    frozen["manifest"][field] = "0" * 64
    unproven(other, frozen)
    assert list(other.workspace.iterdir()) == []


def test_a_missing_pack_is_named(other: Box, cloud: Cloud, frozen: dict[str, Any]) -> None:
    key = frozen["packs_all"][-1]
    cloud.object_path(key).unlink()
    assert key in unproven(other, frozen)


def test_a_truncated_pack_is_refused(other: Box, cloud: Cloud, frozen: dict[str, Any]) -> None:
    path = cloud.object_path(frozen["packs_all"][-1])
    os.truncate(path, path.stat().st_size - 1)
    unproven(other, frozen)


@pytest.mark.parametrize("pack", [0, -1])
def test_a_flipped_bit_never_reaches_the_workspace(
    box: Box, other: Box, cloud: Cloud, frozen: dict[str, Any], pack: int
) -> None:
    path = cloud.object_path(frozen["packs_all"][pack])
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    unproven(other, frozen)
    good = picture(box.workspace)
    for name, fact in picture(other.workspace).items():
        if fact[0] == "file" and not name.startswith(b".dumont-thaw"):
            assert good[name] == fact


def test_matching_files_are_kept_and_foreign_ones_left_alone(
    box: Box, other: Box, cloud: Cloud, frozen: dict[str, Any]
) -> None:
    (other.workspace / "mine").write_text("foreign")
    (other.workspace / "weights.bin").write_bytes((box.workspace / "weights.bin").read_bytes())
    (other.workspace / "src").mkdir()
    (other.workspace / "src" / "m0.py").write_text("other content")
    (other.workspace / "link").write_text("a file where a link belongs")
    cloud.gets.clear()
    other.thaw(frozen)
    assert (other.workspace / "mine").read_text() == "foreign"
    (other.workspace / "mine").unlink()
    os.utime(other.workspace, ns=(0, box.workspace.stat().st_mtime_ns))
    assert picture(other.workspace) == picture(box.workspace)
    assert len(cloud.gets) <= 4


def test_symlinks_in_the_way_are_replaced_not_followed(
    box: Box, other: Box, frozen: dict[str, Any], tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "m0.py").write_text("victim")
    (other.workspace / "src").symlink_to(outside)
    (other.workspace / "weights.bin").symlink_to(outside / "m0.py")
    (other.workspace / "more.bin").hardlink_to(outside / "m0.py")
    other.thaw(frozen)
    assert (outside / "m0.py").read_text() == "victim"
    assert sorted(os.listdir(outside)) == ["m0.py"]
    assert picture(other.workspace) == picture(box.workspace)


def test_a_directory_in_the_place_of_a_file_is_a_conflict(other: Box, frozen: dict[str, Any]) -> None:
    (other.workspace / "weights.bin").mkdir()
    (other.workspace / "weights.bin" / "precious").write_text("x")
    with pytest.raises(SnapshotError) as failure:
        other.thaw(frozen)
    assert failure.value.code == "workspace_conflict"
    assert (other.workspace / "weights.bin" / "precious").exists()


def test_a_full_disk_fails_and_a_second_run_goes_on(
    box: Box, other: Box, cloud: Cloud, frozen: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [12 * MIB]
    real = place.write_at

    def write_at(fd: int, data: memoryview, offset: int) -> None:
        left[0] -= len(data)
        if left[0] < 0:
            real(fd, data[: len(data) // 2], offset)
            raise OSError(errno.ENOSPC, "No space left on device")
        real(fd, data, offset)

    monkeypatch.setattr(place, "write_at", write_at)
    monkeypatch.setattr(room.Rooms, "are_short", False)
    with pytest.raises(OSError, match="No space") as failure:
        other.thaw(frozen)
    assert failure.value.errno == errno.ENOSPC
    assert not (other.workspace / "weights.bin").exists()
    assert not other.state_file.exists()
    monkeypatch.undo()
    cloud.gets.clear()
    other.thaw(frozen)
    assert picture(other.workspace) == picture(box.workspace)
    assert len(cloud.gets) <= 5


def test_a_finished_file_is_never_touched_again(
    other: Box, cloud: Cloud, frozen: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fill._fetch

    def fail(work: Work, run: list[int], wanted: fill.Wanted, gate: fill.Gate, is_urgent: bool) -> None:
        if is_urgent:
            return real(work, run, wanted, gate, is_urgent)
        wait_until_usable(work)
        raise SnapshotError("stopped", "killed here")

    monkeypatch.setattr(fill, "_fetch", fail)
    with pytest.raises(SnapshotError):
        other.thaw(frozen)
    monkeypatch.undo()
    (other.workspace / "src" / "m1.py").write_text("the user's work")
    (other.workspace / "src" / "m2.py").unlink()
    other.thaw(frozen)
    assert (other.workspace / "src" / "m1.py").read_text() == "the user's work"
    assert not (other.workspace / "src" / "m2.py").exists()
    assert (other.workspace / "weights.bin").stat().st_size == 20 * MIB


def test_after_a_restart_finished_files_are_proven_again(
    box: Box, other: Box, frozen: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    other.thaw(frozen)
    torn = other.workspace / "src" / "m1.py"
    info = torn.stat()
    torn.write_bytes(b"\0" * info.st_size)
    os.utime(torn, ns=(0, info.st_mtime_ns))
    (other.workspace / "src" / "m2.py").write_text("the user's work")
    monkeypatch.setattr(resume, "boot_id", lambda: "another boot")
    other.thaw(frozen)
    assert torn.read_bytes() == (box.workspace / "src" / "m1.py").read_bytes()
    assert (other.workspace / "src" / "m2.py").read_text() == "the user's work"


def test_what_the_user_changed_during_a_thaw_is_read_next_time(
    other: Box, frozen: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = thaw._save_state

    def work_meanwhile(*args: Any) -> None:
        (other.workspace / "src" / "m1.py").write_text("new work")
        real(*args)

    monkeypatch.setattr(thaw, "_save_state", work_meanwhile)
    other.thaw(frozen)
    second = other.freeze("s2", "s1")
    assert 0 < second["bytes_stored_new"] < 20_000
    assert len(second["packs_new"]) == 1


def test_bytes_are_on_their_way_while_folders_are_made(
    other: Box, frozen: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived = threading.Event()
    download, make_dir = Transfer.download, Place.make_dir

    def downloaded(transfer: Transfer, key: str, start: int, into: memoryview) -> None:
        download(transfer, key, start, into)
        if key != frozen["manifest"]["key"]:
            arrived.set()

    def made(place: Place, row: DirRow) -> None:
        assert arrived.wait(30)
        make_dir(place, row)

    monkeypatch.setattr(Transfer, "download", downloaded)
    monkeypatch.setattr(Place, "make_dir", made)
    other.thaw(frozen)
    assert (other.workspace / "src" / "m1.py").exists()


def test_nothing_is_written_where_the_folders_cannot_be_made(
    other: Box, frozen: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(place: Place, row: DirRow) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(Place, "make_dir", full)
    with pytest.raises(OSError, match="no space"):
        other.thaw(frozen)
    assert list(other.workspace.iterdir()) == []


def test_usable_does_not_wait_for_the_bulk(
    other: Box, frozen: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fill._fetch

    def fetch(work: Work, run: list[int], wanted: fill.Wanted, gate: fill.Gate, is_urgent: bool) -> None:
        if not is_urgent:
            wait_until_usable(work)
            assert (other.workspace / "src" / "m1.py").exists()
            assert (other.workspace / "link").is_symlink()
        real(work, run, wanted, gate, is_urgent)

    monkeypatch.setattr(fill, "_fetch", fetch)
    result = other.thaw(frozen)
    assert result["usable_at"] <= result["complete_at"]
    assert json.dumps(result)
