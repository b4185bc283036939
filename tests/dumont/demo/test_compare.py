"""Each kind of difference is found, by name; what is the same is not."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from dumont.demo.compare import Difference, compare
from dumont.demo.inventory import Inventory, take_inventory


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "sub").mkdir(parents=True)
    (root / "file").write_text("content")
    (root / "sub" / "other").write_text("other")
    (root / "link").symlink_to("file")
    os.link(root / "file", root / "again")
    return root


def differences(tree: Path, change: Callable[[Path], object]) -> list[Difference]:
    copy = tree.with_name("copy")
    subprocess.run(["cp", "-a", str(tree), str(copy)], check=True)
    kept = copy.stat().st_mtime_ns
    change(copy)
    os.utime(copy, ns=(kept, kept))
    return compare(take_inventory(str(tree)), take_inventory(str(copy)))


def names(found: list[Difference]) -> set[tuple[str, str]]:
    return {(difference.path, difference.what) for difference in found}


def rewrite(path: Path, text: str) -> None:
    """Other content of the same size and date."""
    kept = path.stat().st_mtime_ns
    path.write_text(text)
    os.utime(path, ns=(kept, kept))


def test_a_faithful_copy_has_no_differences(tree: Path) -> None:
    assert differences(tree, lambda copy: None) == []


def test_other_content_of_the_same_size_and_date_is_found(tree: Path) -> None:
    found = differences(tree, lambda copy: rewrite(copy / "sub" / "other", "OTHER"))
    assert names(found) == {("sub/other", "content")}


def test_another_mode_is_found(tree: Path) -> None:
    found = differences(tree, lambda copy: (copy / "sub").chmod(0o700))
    assert [str(difference) for difference in found] == ["sub: mode: 0755 became 0700"]


def test_a_nanosecond_is_found(tree: Path) -> None:
    moment = (tree / "sub").stat().st_mtime_ns + 1
    found = differences(tree, lambda copy: os.utime(copy / "sub", ns=(moment, moment)))
    assert names(found) == {("sub", "modification time")}


def test_the_date_of_a_symlink_is_found(tree: Path) -> None:
    found = differences(tree, lambda copy: os.utime(copy / "link", ns=(1, 1), follow_symlinks=False))
    assert names(found) == {("link", "modification time")}


def test_the_mode_of_the_workspace_itself_is_found(tree: Path) -> None:
    assert names(differences(tree, lambda copy: copy.chmod(0o701))) == {(".", "mode")}


def test_another_link_target_is_found(tree: Path) -> None:
    def change(copy: Path) -> None:
        kept = (copy / "link").lstat().st_mtime_ns
        (copy / "link").unlink()
        (copy / "link").symlink_to("sub")
        os.utime(copy / "link", ns=(kept, kept), follow_symlinks=False)

    assert names(differences(tree, change)) == {("link", "link target")}


def test_a_lost_hard_link_is_found(tree: Path) -> None:
    def change(copy: Path) -> None:
        (copy / "again").unlink()
        shutil.copy2(copy / "file", copy / "again")

    assert names(differences(tree, change)) == {("again", "hard link"), ("file", "hard link")}


def test_missing_and_extra_files_are_found(tree: Path) -> None:
    def change(copy: Path) -> None:
        (copy / "link").rename(copy / "renamed")

    assert names(differences(tree, change)) == {("link", "missing"), ("renamed", "extra")}


def test_a_file_in_place_of_a_directory_is_found(tree: Path) -> None:
    def change(copy: Path) -> None:
        shutil.rmtree(copy / "sub")
        (copy / "sub").touch()

    assert ("sub", "kind") in names(differences(tree, change))


def test_a_lost_attribute_is_found(tree: Path) -> None:
    try:
        os.setxattr(tree / "sub" / "other", "user.mood", b"good")
    except OSError:
        pytest.skip("this file system has no user attributes")
    found = differences(tree, lambda copy: os.removexattr(copy / "sub" / "other", "user.mood"))
    assert names(found) == {("sub/other", "extended attributes")}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_another_owner_is_found(tree: Path) -> None:
    found = differences(tree, lambda copy: os.chown(copy / "sub", 1234, 1235))
    assert names(found) == {("sub", "owner"), ("sub", "group")}


def test_special_files_are_listed_as_skipped_and_do_not_count(tree: Path) -> None:
    os.mkfifo(tree / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tree / "socket"))
    inventory = take_inventory(str(tree))
    assert inventory.skipped == {"pipe": "FIFO", "socket": "socket"}
    assert compare(inventory, Inventory(inventory.entries)) == []


def test_names_that_would_harm_a_terminal_are_escaped() -> None:
    shown = str(Difference(os.fsdecode(b"a\x1b[31m\n\xe9"), "missing"))
    assert shown == r"a\x1b[31m\n\xe9: missing"


def test_counts_take_each_file_once_however_many_names_it_has(tree: Path) -> None:
    counts = take_inventory(str(tree)).counts()
    assert counts == {
        "files": 3, "directories": 2, "symlinks": 1, "hard_linked_names": 2, "skipped": 0, "bytes": 12,
    }  # fmt: skip


def test_a_hard_link_to_the_outside_does_not_count(tree: Path) -> None:
    os.link(tree / "sub" / "other", tree.with_name("outside"))
    assert take_inventory(str(tree)).entries["sub/other"].linked_to == ""
