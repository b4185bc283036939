"""What goes into a snapshot comes out of it: every kind of entry, and generated trees."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.agents.snapshot.harness import Box, picture, serve_cloud

MIB = 1 << 20
UNREADABLE = 0o000 if os.geteuid() == 0 else 0o600
"""Only root can read, and so freeze, a file of mode 0."""


def same(box: Box, other: Box) -> bool:
    one, two = picture(box.workspace), picture(other.workspace)
    differing = {path for path in one.keys() | two.keys() if one.get(path) != two.get(path)}
    assert not differing
    return True


def travel(box: Box, other: Box) -> dict:
    frozen = box.freeze("s1")
    other.thaw(frozen)
    return frozen


def test_small_and_big_files_come_back(box: Box, other: Box) -> None:
    (box.workspace / "code").mkdir()
    (box.workspace / "code" / "main.py").write_text("print('hi')\n")
    (box.workspace / "empty").touch()
    (box.workspace / "random.bin").write_bytes(os.urandom(20 * MIB + 17))
    (box.workspace / "text.bin").write_bytes(b"all work and no play " * 100_000)
    frozen = travel(box, other)
    assert same(box, other)
    assert frozen["files"] == 4
    assert frozen["bytes_logical"] == 20 * MIB + 17 + 2_100_000 + 12


def test_modes_times_and_empty_directories_come_back(box: Box, other: Box) -> None:
    locked = box.workspace / "locked"
    locked.mkdir()
    (locked / "secret").write_text("x")
    (locked / "secret").chmod(0o400)
    (box.workspace / "run.sh").write_text("#!/bin/sh\n")
    (box.workspace / "run.sh").chmod(0o755)
    (box.workspace / "a" / "b" / "c").mkdir(parents=True)
    (box.workspace / "sticky").mkdir()
    (box.workspace / "sticky").chmod(0o1777)
    os.utime(box.workspace / "a", ns=(1, 1_234_567_890_123_456_789))
    os.utime(box.workspace / "run.sh", ns=(1, -5_000_000_001))
    locked.chmod(0o555)
    travel(box, other)
    assert same(box, other)
    assert (other.workspace / "a").stat().st_mtime_ns == 1_234_567_890_123_456_789


def test_symlinks_come_back_as_links_wherever_they_point(box: Box, other: Box) -> None:
    (box.workspace / "real").write_text("x")
    for name, target in {
        "good": "real", "dangling": "nowhere", "loop": "loop", "up": "../../..", "absolute": "/etc/passwd",
    }.items():  # fmt: skip
        (box.workspace / name).symlink_to(target)
    (box.workspace / "sub").mkdir()
    (box.workspace / "sublink").symlink_to("sub")
    os.utime(box.workspace / "good", ns=(5, 7_000_000_001), follow_symlinks=False)
    travel(box, other)
    assert same(box, other)


def test_hard_links_stay_one_file(box: Box, other: Box) -> None:
    (box.workspace / "b").write_text("shared")
    os.link(box.workspace / "b", box.workspace / "a")
    (box.workspace / "d").mkdir()
    os.link(box.workspace / "b", box.workspace / "d" / "c")
    (box.workspace / "big").write_bytes(os.urandom(3 * MIB))
    os.link(box.workspace / "big", box.workspace / "big2")
    travel(box, other)
    assert same(box, other)
    inodes = {(other.workspace / name).stat().st_ino for name in ("a", "b", "d/c")}
    assert len(inodes) == 1


def test_sparse_files_stay_sparse(box: Box, other: Box) -> None:
    with (box.workspace / "image").open("wb") as file:
        file.seek(50 * MIB)
        file.write(b"middle")
        file.truncate(200 * MIB)
    with (box.workspace / "nothing").open("wb") as file:
        file.truncate(64 * MIB)
    frozen = travel(box, other)
    assert same(box, other)
    assert (other.workspace / "image").stat().st_blocks * 512 < MIB
    assert (other.workspace / "nothing").stat().st_blocks == 0
    assert frozen["bytes_stored_new"] < 10_000


def test_names_that_are_not_text_come_back(box: Box, other: Box) -> None:
    top = os.fsencode(box.workspace)
    for name in (b"caf\xe9", b"new\nline", b"\xff\xfe", "ünï".encode(), b"quote\"'\\", b" ", b"-rf"):
        with open(os.path.join(top, name), "wb") as file:
            file.write(name)
    os.symlink(b"\xe9\xff", os.path.join(top, b"link\xe8"))
    os.mkdir(os.path.join(top, b"dir\x80"))
    travel(box, other)
    assert same(box, other)


def test_paths_longer_than_the_kernel_takes_come_back(box: Box, other: Box) -> None:
    fd = os.open(box.workspace, os.O_RDONLY)
    for _ in range(30):
        os.mkdir("d" * 200, dir_fd=fd)
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    deep = os.open("leaf", os.O_WRONLY | os.O_CREAT, dir_fd=fd)
    os.write(deep, b"deep down")
    os.close(deep)
    os.close(fd)
    frozen = box.freeze("s1")
    other.thaw(frozen)
    again = other.freeze("s2", "s1")
    assert frozen["files"] == again["files"] == 1
    assert frozen["skipped"] == again["skipped"] == []
    assert again["packs_all"] == frozen["packs_all"]


def test_user_xattrs_come_back(box: Box, other: Box) -> None:
    file = box.workspace / "file"
    file.write_text("x")
    try:
        os.setxattr(file, "user.note", b"\x00binary\xff")
    except OSError:
        pytest.skip("no extended attributes here")
    os.setxattr(box.workspace, "user.dir", b"top")
    file.chmod(0o444)
    travel(box, other)
    assert same(box, other)


def test_special_files_are_skipped_with_a_reason(box: Box, other: Box) -> None:
    os.mkfifo(box.workspace / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        cwd = os.getcwd()
        os.chdir(box.workspace)
        listener.bind("socket")
        os.chdir(cwd)
        frozen = travel(box, other)
    assert frozen["skipped"] == [
        {"path": "fifo", "why": "is a FIFO"},
        {"path": "socket", "why": "is a socket"},
    ]
    assert frozen["skipped_total"] == 2
    assert frozen["unreadable_total"] == 0
    assert os.listdir(other.workspace) == []


def test_setuid_is_not_restored_and_reported(box: Box, other: Box) -> None:
    (box.workspace / "su").write_text("x")
    (box.workspace / "su").chmod(0o4755)
    thawed = other.thaw(box.freeze("s1"))
    assert stat.S_IMODE((other.workspace / "su").stat().st_mode) == 0o755
    assert thawed["skipped"] == [{"path": "su", "why": "setuid/setgid bit not restored"}]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_owners_come_back_as_root(box: Box, other: Box) -> None:
    (box.workspace / "theirs").write_text("x")
    os.chown(box.workspace / "theirs", 1234, 4321)
    (box.workspace / "link").symlink_to("theirs")
    os.chown(box.workspace / "link", 1234, 4321, follow_symlinks=False)
    travel(box, other)
    assert same(box, other)


def test_excluded_and_own_files_stay_out(box: Box, other: Box) -> None:
    for path in ("keep/a", "cache/b", "keep/x.tmp", ".dumont/token", "data/cache/c", ".dumont-thaw/0"):
        (box.workspace / path).parent.mkdir(parents=True, exist_ok=True)
        (box.workspace / path).write_text(path)
    spec = {"state_file": str(box.workspace / ".dumont" / "state")}
    other.thaw(box.freeze("s1", ignore=["*.tmp", "/cache"], **spec))
    assert sorted(str(p.relative_to(other.workspace)) for p in other.workspace.rglob("*") if p.is_file()) == [
        "data/cache/c",
        "keep/a",
    ]


def test_same_content_is_stored_once(box: Box) -> None:
    content = os.urandom(3 * MIB)
    for name in ("a", "b", "c"):
        (box.workspace / name).write_bytes(content)
        (box.workspace / f"small-{name}").write_bytes(content[:5000])
    frozen = box.freeze("s1")
    assert 3 * MIB < frozen["bytes_stored_new"] < 3 * MIB + 10_000


names = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=12).filter(
    lambda name: name not in (".", "..", ".dumont", ".dumont-thaw") and len(name.encode()) < 200
)
contents = st.one_of(
    st.binary(max_size=300),
    st.builds(lambda seed, size: (seed * (size // len(seed) + 1))[:size], st.binary(min_size=1, max_size=9),
              st.integers(0, 3 * MIB)),
)  # fmt: skip
entries = st.one_of(
    st.tuples(st.just("file"), contents, st.sampled_from([0o644, 0o400, 0o755, UNREADABLE])),
    st.tuples(st.just("link"), names, st.none()),
    st.tuples(st.just("dir"), st.none(), st.sampled_from([0o755, 0o700])),
)
trees = st.dictionaries(st.lists(names, min_size=1, max_size=4).map(tuple), entries, max_size=12)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(trees, st.integers(0, 2**60))
def test_any_tree_comes_back(tree: dict, mtime: int) -> None:
    with tempfile.TemporaryDirectory() as name, serve_cloud(Path(name) / "store") as cloud:
        box, other = Box(Path(name) / "one", cloud), Box(Path(name) / "two", cloud)
        for parts, entry in tree.items():
            plant(box.workspace.joinpath(*parts), entry, mtime)
        frozen = box.freeze("s1")
        other.thaw(frozen)
        same(box, other)
        assert other.freeze("s2", "s1")["packs_new"] == []


def plant(path: Path, entry: tuple, mtime: int) -> None:
    kind, content, mode = entry
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "dir":
            path.mkdir(mode=mode)
        elif kind == "link":
            path.symlink_to(content)
        else:
            path.write_bytes(content)
            path.chmod(mode)
            os.utime(path, ns=(0, mtime))
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        return  # the generated paths collide: fewer entries, still a tree
    except OSError:
        return
