"""What a freeze reads, sends and reports, and how it fails."""

from __future__ import annotations

import mmap
import os
import time
from datetime import timedelta
from pathlib import Path

import pytest

from agents.snapshot import reader
from agents.snapshot.dirty import dirty
from agents.snapshot.errors import SnapshotError
from agents.snapshot.reader import Reader
from tests.agents.snapshot.harness import Box, Cloud, picture

MIB = 1 << 20


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of the files a freeze opens."""
    paths: list[str] = []
    real = reader.open_beneath

    def note(root_fd: int, path: str, flags: int) -> int:
        paths.append(path)
        return real(root_fd, path, flags)

    monkeypatch.setattr(reader, "open_beneath", note)
    return paths


def fill(box: Box) -> None:
    (box.workspace / "src").mkdir()
    for number in range(30):
        (box.workspace / "src" / f"m{number}.py").write_text(f"value = {number}\n" * 50)
    (box.workspace / "weights.bin").write_bytes(os.urandom(9 * MIB))


def test_an_unchanged_workspace_is_not_opened_again(box: Box, opened: list[str]) -> None:
    fill(box)
    box.freeze("s1")
    assert opened
    opened.clear()
    second = box.freeze("s2", "s1")
    assert opened == []
    assert second["packs_new"] == []


def test_a_restored_workspace_is_not_opened_again(box: Box, other: Box, opened: list[str]) -> None:
    fill(box)
    os.link(box.workspace / "src" / "m1.py", box.workspace / "again")
    frozen = box.freeze("s1")
    other.thaw(frozen)
    opened.clear()
    assert other.freeze("s2", "s1")["packs_all"] == frozen["packs_all"]
    assert opened == []


def test_only_what_changed_is_read_and_sent(box: Box, other: Box, opened: list[str]) -> None:
    fill(box)
    box.freeze("s1")
    opened.clear()
    (box.workspace / "src" / "m3.py").write_text("changed")
    (box.workspace / "src" / "m4.py").unlink()
    (box.workspace / "src" / "m5.py").rename(box.workspace / "moved.py")
    second = box.freeze("s2", "s1")
    assert sorted(opened) == ["moved.py", "src/m3.py"]
    assert second["bytes_stored_new"] < 5000
    other.thaw(second)
    assert picture(other.workspace) == picture(box.workspace)


def test_a_changed_mode_or_a_reset_mtime_is_noticed(box: Box, other: Box) -> None:
    file = box.workspace / "f"
    file.write_text("one")
    before = file.stat()
    box.freeze("s1")
    file.write_text("two")
    file.chmod(0o600)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.thaw(box.freeze("s2", "s1"))
    assert (other.workspace / "f").read_text() == "two"
    assert picture(other.workspace) == picture(box.workspace)


@pytest.mark.parametrize("damage", [b"", b"garbage", None])
def test_without_a_state_file_everything_is_read_and_right(
    box: Box, other: Box, damage: bytes | None
) -> None:
    fill(box)
    box.freeze("s1")
    if damage is None:
        box.state_file.unlink()
    else:
        box.state_file.write_bytes(damage)
    other.thaw(box.freeze("s2", "s1"))
    assert picture(other.workspace) == picture(box.workspace)


@pytest.mark.parametrize("size", [4096, 2 * MIB])
def test_a_second_write_through_a_mapping_is_noticed(box: Box, size: int) -> None:
    """The kernel tells the time of the first write to a page only, until that page is on the disk."""
    file = box.workspace / "array"
    file.write_bytes(bytes(size))
    with file.open("r+b") as opened, mmap.mmap(opened.fileno(), 0) as mapping:
        mapping[0:1] = b"1"
        time.sleep(0.05)  # longer than the reader's margin: only the mapping itself betrays it
        box.freeze("s1")
        assert not dirty(str(box.workspace), box.state_file)["dirty"]
        mapping[0:1] = b"2"
        assert dirty(str(box.workspace), box.state_file)["sample"] == ["array"]


def test_the_state_of_another_snapshot_is_not_trusted(box: Box) -> None:
    fill(box)
    first = box.freeze("s1")
    second = box.freeze("s2", "s0")
    assert not set(first["packs_all"]) & set(second["packs_all"])


def test_an_unreadable_file_is_counted(box: Box, other: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(box)
    (box.workspace / "secret").write_text("x")
    os.link(box.workspace / "secret", box.workspace / "twin")
    real = reader.open_beneath

    def deny(root_fd: int, path: str, flags: int) -> int:
        if path in ("secret", "weights.bin"):
            raise PermissionError(13, "Permission denied")
        return real(root_fd, path, flags)

    monkeypatch.setattr(reader, "open_beneath", deny)
    frozen = box.freeze("s1")
    assert frozen["unreadable_total"] == 2
    assert {"path": "secret", "why": "unreadable: Permission denied"} in frozen["skipped"]
    assert frozen["changed_while_read"] == ["twin"]
    other.thaw(frozen)
    assert not (other.workspace / "secret").exists()


def test_a_file_that_keeps_moving_is_reported_and_read_next_time(
    box: Box, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(box)
    log = box.workspace / "train.log"
    log.write_text("line\n")
    real = reader.read_up_to

    def write_meanwhile(fd: int, size: int) -> bytes:
        data = real(fd, size)
        if os.readlink(f"/proc/self/fd/{fd}") == str(log):
            with log.open("a") as file:
                file.write("more\n")
        return data

    monkeypatch.setattr(reader, "read_up_to", write_meanwhile)
    assert box.freeze("s1")["changed_while_read"] == ["train.log"]
    monkeypatch.undo()
    assert box.freeze("s2", "s1")["bytes_stored_new"] > 0


@pytest.mark.parametrize("change", ["grow", "shrink", "vanish"])
def test_a_big_file_that_moves_is_read_once_more(
    box: Box, other: Box, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    big = box.workspace / "big"
    big.write_bytes(os.urandom(20 * MIB))
    real, calls = Reader._store_run, []

    def change_once(self: Reader, fd: int, run: tuple[int, int, bool], tier: int) -> object:
        if not calls:
            calls.append(run)
            if change == "vanish":
                big.unlink()
            else:
                os.truncate(big, 21 * MIB if change == "grow" else 3 * MIB)
        return real(self, fd, run, tier)

    monkeypatch.setattr(Reader, "_store_run", change_once)
    frozen = box.freeze("s1")
    assert frozen["changed_while_read"] == (["big"] if change == "vanish" else [])
    other.thaw(frozen)
    assert picture(other.workspace).get(b"big") == picture(box.workspace).get(b"big")


def test_a_missing_workspace_has_its_own_code(box: Box) -> None:
    box.workspace.rmdir()
    with pytest.raises(SnapshotError) as failure:
        box.freeze("s1")
    assert failure.value.code == "workspace_missing"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ((409, "operation_cancelled"), "cancelled"),
        ((401, "unauthenticated"), "control_refused"),
        ((503, "busy"), "control_unreachable"),
    ],
)
def test_a_refusal_of_urls_ends_the_freeze(
    box: Box, cloud: Cloud, answer: tuple[int, str], code: str
) -> None:
    fill(box)
    cloud.refuse_urls = answer
    with pytest.raises(SnapshotError) as failure:
        box.freeze("s1")
    assert failure.value.code == code
    assert not box.state_file.exists()


def test_an_absent_control_plane_is_named(box: Box, cloud: Cloud) -> None:
    fill(box)
    cloud.url = "http://127.0.0.1:9"
    with pytest.raises(SnapshotError) as failure:
        box.freeze("s1")
    assert failure.value.code == "control_unreachable"


def test_a_store_that_refuses_for_good_is_named(box: Box, cloud: Cloud) -> None:
    fill(box)
    cloud.fault = lambda method, key: 500
    with pytest.raises(SnapshotError) as failure:
        box.freeze("s1")
    assert failure.value.code == "upload_failed"


def test_passing_failures_and_expired_urls_are_retried(box: Box, other: Box, cloud: Cloud) -> None:
    fill(box)
    failures = [503, 403, 503]
    cloud.fault = lambda method, key: failures.pop() if failures else None
    box.retry = other.retry = type(box.retry)(attempts=5, first=0.01, longest=0.02)
    frozen = box.freeze("s1")
    failures += [500, 403]
    other.thaw(frozen)
    assert picture(other.workspace) == picture(box.workspace)


def test_a_url_that_expired_gives_way_to_a_new_key(box: Box, cloud: Cloud) -> None:
    fill(box)
    cloud.expires = timedelta(seconds=-10)
    with pytest.raises(SnapshotError) as failure:
        box.freeze("s1")
    assert failure.value.code == "upload_failed"
    assert len(cloud.asked) > 2
    assert not list(cloud.root.rglob("pack-*"))


def test_stored_packs_are_not_sent_again_by_a_second_run(box: Box, other: Box, cloud: Cloud) -> None:
    fill(box)
    cloud.fault = lambda method, key: 500 if "manifest" in key else None
    with pytest.raises(SnapshotError):
        box.freeze("s1")
    sent = set(cloud.puts)
    assert sent
    with box.state_file.with_suffix(".journal").open("ab") as journal:
        journal.write(b'{"pack": [0, "torn')
    cloud.fault = lambda method, key: None
    frozen = box.freeze("s1")
    assert set(cloud.puts) - sent == {frozen["manifest"]["key"]}
    assert {pack["key"] for pack in frozen["packs_new"]} == sent
    other.thaw(frozen)
    assert picture(other.workspace) == picture(box.workspace)


def test_a_workspace_inside_the_agents_reach_keeps_the_token_out(box: Box, other: Box) -> None:
    home = box.workspace / ".dumont"
    home.mkdir()
    (home / "token").write_text("agent-token")
    frozen = box.freeze("s1", token_file=str(home / "token"), state_file=str(home / "state"))
    other.thaw(frozen)
    assert list(Path(other.workspace).iterdir()) == []
