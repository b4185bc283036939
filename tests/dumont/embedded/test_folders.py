from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from dumont.embedded import folders
from dumont.embedded.folders import (
    StateInUse,
    StateUnusable,
    exclusive,
    give,
    private_folder,
    release_socket_folder,
    socket_folder,
)


@pytest.fixture
def long_state(tmp_path: Path) -> Path:
    return private_folder(tmp_path / ("long" * 30))


def test_a_private_folder_is_closed_to_others(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    assert stat.S_IMODE(private_folder(tmp_path / "open").stat().st_mode) == 0o700


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateUnusable, match="file/state"):
        private_folder(tmp_path / "file" / "state")


def test_somebody_elses_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4321)
    with pytest.raises(StateUnusable, match="belongs to user"):
        private_folder(tmp_path)


def test_a_state_serves_one_at_a_time(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with exclusive(lock), pytest.raises(StateInUse), exclusive(lock):
        pytest.fail("held twice")
    with exclusive(lock):
        assert lock.exists()


def test_sockets_of_a_server_that_is_gone_are_removed(tmp_path: Path) -> None:
    (socket_folder(tmp_path, "postgres") / "stale").touch()
    assert list(socket_folder(tmp_path, "postgres").iterdir()) == []


def test_a_long_state_gets_a_short_private_socket_folder(long_state: Path) -> None:
    folder = socket_folder(long_state, "postgres")
    assert len(str(folder / ".s.PGSQL.5432")) <= 107
    assert folder == socket_folder(long_state, "postgres")
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    release_socket_folder(long_state, "postgres")
    assert not folder.parent.exists()


def test_the_short_folder_stays_while_another_server_uses_it(long_state: Path) -> None:
    socket_folder(long_state, "postgres")
    other = socket_folder(long_state, "valkey")
    release_socket_folder(long_state, "postgres")
    assert other.exists()
    release_socket_folder(long_state, "valkey")
    release_socket_folder(long_state, "valkey")
    assert not other.parent.exists()


def test_a_short_folder_open_to_others_is_not_used_again(long_state: Path) -> None:
    first = socket_folder(long_state, "postgres").parent
    first.chmod(0o755)
    second = socket_folder(long_state, "postgres").parent
    assert second != first
    release_socket_folder(long_state, "postgres")
    (first / "postgres").rmdir()
    first.rmdir()


def test_giving_what_is_already_theirs_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders.os, "chown", lambda *_: pytest.fail("changed"))
    give(tmp_path, os.geteuid())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_root_gives_a_whole_tree_away(tmp_path: Path) -> None:
    (tmp_path / "tree" / "leaf").mkdir(parents=True)
    (tmp_path / "tree" / "leaf" / "file").touch()
    (tmp_path / "tree" / "link").symlink_to("/nowhere")
    give(tmp_path / "tree", folders.NOBODY)
    assert {path.lstat().st_uid for path in (tmp_path / "tree").rglob("*")} == {folders.NOBODY}
