"""Packs outlive the freeze that stored them, for a day and as long as parent and keys stay."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from agents.snapshot import journal as module
from agents.snapshot.errors import SnapshotError
from agents.snapshot.journal import Journal, journal_path
from tests.agents.snapshot.harness import Box, Cloud, picture

MIB = 1 << 20
HOUR = 3600


@pytest.fixture
def cut_short(box: Box, cloud: Cloud) -> Box:
    """A freeze ``s1`` stored its packs, but not its manifest."""
    for number in range(20):
        (box.workspace / f"m{number}.py").write_text(f"value = {number}\n" * 50)
    (box.workspace / "weights.bin").write_bytes(os.urandom(9 * MIB))
    cloud.fault = lambda method, key: 500 if "manifest" in key else None
    with pytest.raises(SnapshotError):
        box.freeze("s1")
    cloud.fault = lambda method, key: None
    return box


def at(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    real = time.time
    monkeypatch.setattr(module.time, "time", lambda: real() + seconds)


def test_another_snapshot_adopts_what_a_cancelled_one_stored(
    cut_short: Box, other: Box, cloud: Cloud
) -> None:
    sent = set(cloud.puts)
    (cut_short.workspace / "tail").write_text("new")
    frozen = cut_short.freeze("s2")
    assert sent < {pack["key"] for pack in frozen["packs_new"]} == set(frozen["packs_all"])
    assert len(cloud.puts) - len(sent) == 2  # the tail and the manifest
    other.thaw(frozen)
    assert picture(other.workspace) == picture(cut_short.workspace)


def test_the_journal_ends_with_its_parent(cut_short: Box, cloud: Cloud) -> None:
    first = cut_short.freeze("s2")
    second = cut_short.freeze("s3", "s2")
    assert second["packs_all"] == first["packs_all"]
    assert second["packs_new"] == []
    assert b"pack" not in journal_path(cut_short.state_file).read_bytes()


def test_a_snapshot_that_was_never_committed_is_built_upon(box: Box, other: Box, cloud: Cloud) -> None:
    (box.workspace / "weights.bin").write_bytes(os.urandom(9 * MIB))
    first = box.freeze("s1")
    (box.workspace / "notes").write_text("new")
    second = box.freeze("s2", "s1")
    (box.workspace / "more").write_text("newer")
    cloud.puts.clear()
    third = box.freeze("s3", "s1")
    assert len(cloud.puts) == 2  # what is newer and the manifest
    assert set(third["packs_all"]) > set(first["packs_all"]) | set(second["packs_all"])
    new = {pack["key"] for pack in third["packs_new"]}
    assert new == set(third["packs_all"]) - set(first["packs_all"])
    other.thaw(third)
    assert picture(other.workspace) == picture(box.workspace)


def test_a_snapshot_that_was_never_committed_is_forgotten_after_a_day(
    box: Box, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    (box.workspace / "notes").write_text("new")
    first = box.freeze("s1")
    at(monkeypatch, 25 * HOUR)
    second = box.freeze("s2")
    assert not set(first["packs_all"]) & set(second["packs_all"])


def test_other_keys_adopt_nothing(cut_short: Box, cloud: Cloud) -> None:
    sent = set(cloud.puts)
    frozen = cut_short.freeze("s2", keys={"id": "00" * 32, "cipher": None})
    assert not sent & set(frozen["packs_all"])


@pytest.mark.parametrize(("hours", "is_adopted"), [(23.5, True), (24.5, False), (-1.0, False)])
def test_packs_too_old_or_of_tomorrow_are_sent_again(
    cut_short: Box, cloud: Cloud, monkeypatch: pytest.MonkeyPatch, hours: float, is_adopted: bool
) -> None:
    sent = set(cloud.puts)
    at(monkeypatch, hours * HOUR)
    assert (sent <= set(cut_short.freeze("s2")["packs_all"])) is is_adopted


def test_a_torn_head_voids_the_journal(cut_short: Box, cloud: Cloud) -> None:
    sent = set(cloud.puts)
    path = journal_path(cut_short.state_file)
    path.write_bytes(path.read_bytes()[5:])
    assert not sent & set(cut_short.freeze("s2")["packs_all"])


def test_two_freezes_of_one_workspace_never_run_at_once(
    cut_short: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.1)
    held = Journal(journal_path(cut_short.state_file))
    held.hold()
    try:
        with pytest.raises(SnapshotError) as failure:
            cut_short.freeze("s2")
    finally:
        held.close()
    assert failure.value.code == "busy"
    cut_short.freeze("s2")


def test_a_line_after_the_end_is_not_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.append([1])
    journal.close()
    journal.append([2])
    assert (tmp_path / "journal").read_bytes() == b"[1]\n"
