"""Doubt keeps the machine: a bad copy, work that resumes, GPUs that cannot be read, an agent that fell silent."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hibernation.domain.states import OperationKind
from hibernation.providers.local.fake_gpu.gpu_file import FakeGpu, write_driver_error, write_gpus
from hibernation.providers.local.processes import members
from hibernation.providers.local.records import Records
from tests.chaos.arena import Arena
from tests.chaos.conftest import MakeSubjects
from tests.chaos.places import Place
from tests.chaos.subject import Subject
from tests.chaos.waiting import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

_HIBERNATE = OperationKind.HIBERNATE
_PAUSE_SECONDS = 20.0  # longer than an agent may be silent before its last word counts for nothing
_MARGIN_SECONDS = 6.0
_BUSY = FakeGpu("RTX 3090", 24576, 97, 20000)
_IDLE = FakeGpu("RTX 3090", 24576, 0, 0)


def _flip(pack: Path) -> None:
    stored = bytearray(pack.read_bytes())
    stored[len(stored) // 2] ^= 1
    pack.write_bytes(stored)


def _truncate(pack: Path) -> None:
    os.truncate(pack, pack.stat().st_size - 1)


def _swap(pack: Path) -> None:
    pack.write_bytes(os.urandom(pack.stat().st_size))


@pytest.fixture(scope="module")
def subject(make_subjects: MakeSubjects) -> Subject:
    [subject] = make_subjects("doubted")
    return subject


def destroy_calls(arena: Arena, contract: str) -> int:
    return sum(line["event"] == "destroy_called" and line["contract"] == contract for line in arena.ledger())


@pytest.mark.parametrize("kind", ["pack", "manifest"])
@pytest.mark.parametrize(
    "damage", [_flip, _truncate, _swap, Path.unlink], ids=["flipped", "cut", "swapped", "missing"]
)
def test_a_damaged_copy_keeps_the_machine(
    damage: Callable[[Path], None], kind: str, subject: Subject, arena: Arena
) -> None:
    contract, stands = subject.contract, Place(_HIBERNATE, "verify", "claimed")
    subject.arm(stands)
    subject.order(_HIBERNATE)
    subject.wait_at(stands)
    newest = "SELECT key FROM hibernation_pack WHERE instance_id = %s AND kind = %s ORDER BY id DESC LIMIT 1"
    damage(arena.state / "store" / arena.row(newest, subject.name, kind)["key"])
    subject.release(stands)
    operation = subject.wait_until_ended()
    assert (operation["state"], operation["error_code"]) == ("failed", "snapshot_unproven")
    assert destroy_calls(arena, contract) == 0
    assert contract in arena.billing()
    subject.check()


def test_after_a_damaged_copy_the_next_one_is_whole(subject: Subject) -> None:
    subject.order(_HIBERNATE)
    assert subject.wait_until_ended()["state"] == "succeeded"
    subject.check()
    subject.finish()


@pytest.mark.parametrize("step", ["freeze", "verify", "fence"])
def test_work_that_resumes_during_the_snapshot_keeps_the_machine(
    step: str, arena: Arena, make_subjects: MakeSubjects
) -> None:
    """The real agent reads the busy GPU; the hibernation stops, whichever heartbeat or last look hears of it."""
    [subject] = make_subjects(f"resumes_in_{step}", pause_seconds=2)
    stands, contract = Place(_HIBERNATE, step, "claimed"), subject.contract
    subject.arm(stands)
    subject.wait_at(stands)
    write_gpus(subject.gpu_file, [_BUSY])
    eventually(lambda: subject.events().count("activity_resumed"), "the busy heartbeat arrives")
    subject.release(stands)
    operation = subject.wait_until_ended()
    assert (operation["state"], operation["error_code"]) == ("cancelled", "activity_resumed")
    assert destroy_calls(arena, contract) == 0
    assert "hibernate_vetoed" in subject.events()
    subject.check()


@pytest.fixture(scope="module")
def watched(arena: Arena, make_subjects: MakeSubjects) -> dict[str, Subject]:
    """Four machines that would all hibernate by now, and one that did."""
    [eight] = make_subjects("one_of_eight", pause_seconds=_PAUSE_SECONDS, gpu_count=8)
    write_gpus(eight.gpu_file, [_IDLE] * 5 + [_BUSY] + [_IDLE] * 2)
    names = ("silent", "unreadable", "half_unreadable", "idle")
    subjects = dict(zip(names, make_subjects(*names, pause_seconds=_PAUSE_SECONDS), strict=True))
    _silence(arena, subjects["silent"])
    write_driver_error(subjects["unreadable"].gpu_file)
    write_gpus(subjects["half_unreadable"].gpu_file, [_IDLE, FakeGpu("RTX 3090", 24576, None, 0)])
    eventually(lambda: subjects["idle"].status == "hibernated", "the idle one hibernates")
    time.sleep(_MARGIN_SECONDS)  # nothing may happen, and nothing says when it has not
    return {**subjects, "one_of_eight": eight}


@pytest.mark.parametrize("name", ["silent", "unreadable", "half_unreadable", "one_of_eight"])
def test_a_machine_not_known_to_be_idle_never_hibernates(name: str, watched: dict[str, Subject]) -> None:
    subject = watched[name]
    assert "hibernate_started" not in subject.events()
    subject.check()


def _silence(arena: Arena, subject: Subject) -> None:
    """Kills the agent's monitor on the machine."""
    record = Records(arena.state / "provider").get(subject.contract)
    assert record is not None
    monitors = [p.pid for p in members(record.keeper, record.marker) if _is_monitor(p.pid)]
    assert monitors
    for pid in monitors:
        os.kill(pid, signal.SIGKILL)


def _is_monitor(pid: int) -> bool:
    return b"\0monitor\0" in Path(f"/proc/{pid}/cmdline").read_bytes()
