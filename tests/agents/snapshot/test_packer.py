from __future__ import annotations

import threading
import time

import pytest

from agents.snapshot import packer as module
from agents.snapshot.catalog import Chunk, Pack
from agents.snapshot.packer import Packer

KIB = 1 << 10


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PACK", 32 * KIB)
    monkeypatch.setattr(module, "IN_FLIGHT", 256 * KIB)


def test_bytes_in_flight_are_bounded_and_reading_waits() -> None:
    gate = threading.Event()
    stored: list[Pack] = []

    def upload(pack: Pack) -> None:
        gate.wait(10)
        stored.append(pack)

    packer = Packer(upload, lambda: 0, 1)
    added = [0]

    def read() -> None:
        for number in range(100):
            packer.add(number % 2, Chunk(str(number)), bytes(8 * KIB))
            added[0] += 1

    reader = threading.Thread(target=read)
    reader.start()
    time.sleep(0.3)
    assert added[0] * 8 * KIB <= 256 * KIB
    gate.set()
    reader.join()
    packer.finish()
    assert sum(len(pack.chunks) for pack in stored) == 100
    assert {chunk.pack for pack in stored for chunk in pack.chunks} == set(stored)
    assert all(pack.parts == [] and pack.size <= 32 * KIB for pack in stored)


def test_a_failed_upload_reaches_whoever_waits_for_room() -> None:
    def upload(pack: Pack) -> None:
        time.sleep(0.05)
        raise OSError("gone")

    packer = Packer(upload, lambda: 0, 1)

    def read() -> None:
        for number in range(100):
            packer.add(0, Chunk(str(number)), bytes(8 * KIB))

    with pytest.raises(OSError, match="gone"):
        read()
    with pytest.raises(OSError, match="gone"):
        packer.finish()


def test_an_abandoned_packer_begins_nothing_more() -> None:
    sent: list[Pack] = []
    packer = Packer(sent.append, lambda: 0, 1)
    packer.add(0, Chunk("a"), b"a")
    packer.abandon()
    with pytest.raises(RuntimeError):
        packer.finish()
    assert sent == []
