from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from agents.identity import AlreadyRunning, SequenceNumber, boot_id, only_agent, write_atomically


def numbers(state_dir: Path, now: float = 0.0) -> SequenceNumber:
    return SequenceNumber(state_dir, lambda: now)


def test_numbers_rise_over_restarts(tmp_path: Path) -> None:
    before = numbers(tmp_path)
    used = [before.next() for _ in range(3)]
    assert numbers(tmp_path).next() == used[-1] + 1


def test_a_killed_agent_never_reuses_a_number(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from agents.identity import SequenceNumber\n"
        "numbers = SequenceNumber(Path(sys.argv[1]), lambda: 0.0)\n"
        "for _ in range(5): print(numbers.next(), flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    killed = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=20
    )
    assert killed.returncode == -9
    assert numbers(tmp_path).next() > int(killed.stdout.split()[-1])


def test_two_processes_of_one_home_never_share_a_number(tmp_path: Path) -> None:
    monitor, test = numbers(tmp_path), numbers(tmp_path)
    used = [monitor.next(), test.next(), monitor.next(), test.next()]
    assert used == sorted(set(used))


@pytest.mark.parametrize("damage", ["", "garbage", "12\x00"])
def test_a_damaged_file_is_bridged_by_the_clock(tmp_path: Path, damage: str) -> None:
    last = [numbers(tmp_path, 1000.0).next() for _ in range(3)][-1]
    (tmp_path / "seq").write_text(damage)
    assert numbers(tmp_path, 1090.0).next() > last


def test_a_clock_that_goes_back_does_not_lower_the_number(tmp_path: Path) -> None:
    last = numbers(tmp_path, 5000.0).next()
    assert numbers(tmp_path, 10.0).next() == last + 1


def test_numbers_rise_even_where_nothing_can_be_written(tmp_path: Path) -> None:
    nowhere = numbers(tmp_path / "gone")
    assert nowhere.next() < nowhere.next()


def test_the_boot_id_changes_with_the_boot_and_the_home_only(tmp_path: Path) -> None:
    kernel, other_home = tmp_path / "boot_id", tmp_path / "other"
    kernel.write_text("boot-1\n")
    other_home.mkdir()
    first = boot_id(tmp_path, kernel)
    assert boot_id(tmp_path, kernel) == first
    assert boot_id(other_home, kernel) != first
    kernel.write_text("boot-2\n")
    assert boot_id(tmp_path, kernel) != first


def test_a_boot_id_exists_without_a_kernel_or_a_disk(tmp_path: Path) -> None:
    assert boot_id(tmp_path / "gone", tmp_path / "gone").startswith("unknown.")


def test_a_damaged_nonce_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "nonce").write_bytes(b"\x00\xff")
    assert boot_id(tmp_path) == boot_id(tmp_path)


def test_only_one_agent_runs_per_home(tmp_path: Path) -> None:
    with only_agent(tmp_path), pytest.raises(AlreadyRunning, match="already runs"), only_agent(tmp_path):
        pass
    with only_agent(tmp_path):
        pass


def test_a_write_that_fails_leaves_the_old_text_and_no_litter(tmp_path: Path) -> None:
    target = tmp_path / "target"
    (target / "child").mkdir(parents=True)  # A folder cannot be replaced by a file.
    with pytest.raises(OSError):
        write_atomically(target, "new")
    assert list(tmp_path.iterdir()) == [target]
