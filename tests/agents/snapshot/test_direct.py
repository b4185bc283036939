from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agents.snapshot import direct, room
from agents.snapshot.direct import DirectDisk
from agents.snapshot.place import Place
from agents.snapshot.room import Room, Rooms
from tests.agents.snapshot.harness import Box, picture

MIB = 1 << 20


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "file").write_bytes(bytes(4 * MIB))
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.fixture
def own() -> Iterator[Room]:
    with Rooms(1).lent() as lent:
        yield lent


def test_whole_pages_are_written_and_the_rest_is_left_to_the_caller(
    folder: int, own: Room, tmp_path: Path
) -> None:
    data = os.urandom(2 * MIB + 100)
    own.raw[: len(data)] = data
    disk = DirectDisk()
    assert disk.write("file", folder, own, own.raw[: len(data)], 4096) in (2 * MIB, 0)
    if disk.works:
        assert (tmp_path / "file").read_bytes()[4096 : 4096 + 2 * MIB] == data[: 2 * MIB]


def test_bytes_from_elsewhere_are_copied_to_whole_pages_first(folder: int, own: Room, tmp_path: Path) -> None:
    data = os.urandom(2 * MIB)
    disk = DirectDisk()
    done = disk.write("file", folder, own, memoryview(b"x" + data)[1:], 0)
    assert (tmp_path / "file").read_bytes()[:done] == data[:done]
    assert done == (2 * MIB if disk.works else 0)


@pytest.mark.parametrize(("size", "at"), [(MIB - 1, 0), (2 * MIB, 100)])
def test_little_and_crooked_writes_are_left_to_the_cache(folder: int, own: Room, size: int, at: int) -> None:
    assert DirectDisk().write("file", folder, own, own.raw[:size], at) == 0


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOPNOTSUPP])
def test_a_file_system_without_direct_writes_is_asked_once(
    folder: int, own: Room, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []

    def refuse(*args: Any) -> int:
        tries.append(1)
        raise OSError(number, "no")

    monkeypatch.setattr(direct, "_write", refuse)
    disk = DirectDisk()
    assert [disk.write("file", folder, own, own.raw[:MIB], 0) for _ in range(2)] == [0, 0]
    assert len(tries) == 1


def test_a_full_disk_is_an_error(folder: int, own: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(direct, "_write", full)
    with pytest.raises(OSError, match="No space"):
        DirectDisk().write("file", folder, own, own.raw[:MIB], 0)


def test_a_short_write_begins_again_in_the_cache(
    folder: int, own: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct.os, "pwrite", lambda fd, data, at: 512)
    disk = DirectDisk()
    assert disk.write("file", folder, own, own.raw[:MIB], 0) == 0
    assert not disk.works


def test_a_slow_disk_is_left_to_the_cache_after_a_trial(
    folder: int, own: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(direct.time, "monotonic", lambda: now[0])

    def slow(name: str, folder: int, data: memoryview, at: int) -> None:
        now[0] += len(data) / 100e6

    monkeypatch.setattr(direct, "_write", slow)
    disk = DirectDisk()
    done = [disk.write("file", folder, own, own.raw[: 8 * MIB], 0) for _ in range(12)]
    assert done == [8 * MIB] * 9 + [0] * 3


def test_a_workspace_written_past_the_cache_is_the_same(
    box: Box, other: Box, frozen: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    real = DirectDisk.write

    def write(disk: DirectDisk, *args: Any) -> int:
        calls.append(real(disk, *args))
        return calls[-1]

    monkeypatch.setattr(room.Rooms, "are_short", True)
    monkeypatch.setattr(DirectDisk, "write", write)
    other.thaw(frozen)
    assert picture(other.workspace) == picture(box.workspace)
    assert calls


def test_dear_copies_are_told_from_cheap_ones() -> None:
    cheap, dear = DirectDisk(), DirectDisk()
    cheap.note_copy(64 << 20, 0.02)
    dear.note_copy(16 << 20, 0.1)
    assert not dear.copies_slowly  # too few to tell
    dear.note_copy(16 << 20, 0.1)
    assert (cheap.copies_slowly, dear.copies_slowly) == (False, True)


def test_without_hurry_a_file_goes_through_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, hurried = Place(str(tmp_path / "w")), list[int]()
    monkeypatch.setattr(DirectDisk, "write", lambda *args: hurried.append(1) or 0)
    place.open()
    place.stage(7, 2 * MIB)
    with Rooms(1).lent() as lent:
        place.write_staged(7, lent.raw[: 2 * MIB], 0, lent)
        assert not hurried
        place.write_staged(7, lent.raw[: 2 * MIB], 0, lent, hurry=True)
        assert hurried
    place.close()
