from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agents.spool import Spool


def reading(seq: int, instance_id: str = "vast_1") -> dict[str, Any]:
    return {"instance_id": instance_id, "seq": seq, "spooled": False}


def drain(spool: Spool) -> list[int]:
    numbers = []
    while len(spool):
        numbers.append(spool.oldest()["seq"])
        spool.drop_oldest()
    return numbers


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool.jsonl"


def test_readings_survive_a_restart_oldest_first_and_marked(path: Path) -> None:
    spool = Spool(path, "vast_1")
    for seq in (1, 2, 3):
        spool.add(reading(seq))
    again = Spool(path, "vast_1")
    assert again.oldest()["spooled"] is True
    assert drain(again) == [1, 2, 3]


def test_only_the_latest_are_kept_in_memory_and_on_disk(path: Path) -> None:
    spool = Spool(path, "vast_1", limit=5)
    for seq in range(100):
        spool.add(reading(seq))
    assert drain(Spool(path, "vast_1", limit=5)) == [95, 96, 97, 98, 99]
    assert len(path.read_text().splitlines()) <= 10
    assert drain(spool) == [95, 96, 97, 98, 99]


def test_a_torn_line_costs_only_itself(path: Path) -> None:
    spool = Spool(path, "vast_1")
    spool.add(reading(1))
    with path.open("a") as file:
        file.write('{"instance_id":"vast_1","se')
    again = Spool(path, "vast_1")
    again.add(reading(3))
    assert drain(Spool(path, "vast_1")) == [1, 3]


@pytest.mark.parametrize("garbage", [b"\x00\xff\xfe", b"[1,2]\nnull\n", b'{"instance_id":"vast_1"}\n'])
def test_garbage_is_ignored(path: Path, garbage: bytes) -> None:
    path.write_bytes(garbage)
    assert len(Spool(path, "vast_1")) == 0


def test_readings_of_another_instance_are_not_sent(path: Path) -> None:
    Spool(path, "vast_9").add(reading(1, "vast_9"))
    assert len(Spool(path, "vast_1")) == 0


def test_what_was_sent_is_gone_after_save(path: Path) -> None:
    spool = Spool(path, "vast_1")
    for seq in (1, 2):
        spool.add(reading(seq))
    spool.drop_oldest()
    spool.save()
    assert drain(Spool(path, "vast_1")) == [2]


def test_a_disk_that_cannot_be_written_keeps_the_reading_in_memory(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "gone" / "spool.jsonl", "vast_1")
    spool.add(reading(1))
    spool.save()
    assert drain(spool) == [1]
