"""A tree reaches the machine's workspace whole, and the source stays as it was."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dumont.demo.compare import compare
from dumont.demo.copying import Extent, check_space, copy_tree, measure, move_into
from dumont.demo.errors import DemoFailed
from dumont.demo.generator import make_workspace
from dumont.demo.inventory import take_inventory
from hibernation.providers.local.files import remove_tree


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Path]:
    make_workspace(tmp_path / "source", weight_bytes=1000)
    (tmp_path / "source").chmod(0o555)
    yield tmp_path / "source"
    for folder in tmp_path.iterdir():
        remove_tree(folder)


def test_a_copied_and_moved_tree_is_the_same_and_the_source_untouched(source: Path) -> None:
    before = take_inventory(str(source))
    workspace = source.with_name("workspace")
    workspace.mkdir()
    assert copy_tree(source, source.with_name("incoming")) == []
    move_into(source.with_name("incoming"), workspace)
    assert compare(before, take_inventory(str(workspace))) == []
    assert compare(before, take_inventory(str(source))) == []
    assert not source.with_name("incoming").exists()


def test_holes_stay_holes(source: Path) -> None:
    copy_tree(source, source.with_name("incoming"))
    copied = (source.with_name("incoming") / "data" / "index.sparse").stat()
    assert copied.st_blocks * 512 < copied.st_size / 10


def test_a_tree_that_is_not_there_is_a_failure_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(DemoFailed, match="No such file"):
        copy_tree(tmp_path / "nowhere", tmp_path / "incoming")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_named_and_the_rest_copied(source: Path) -> None:
    (source / "project" / "run.sh").chmod(0)
    complaints = copy_tree(source, source.with_name("incoming"))
    assert len(complaints) == 1
    assert "run.sh" in complaints[0]


def test_measuring_counts_names_and_allocated_bytes(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    with (tmp_path / "sub" / "holes").open("wb") as file:
        file.truncate(10**9)
    extent = measure(tmp_path)
    assert extent.files == 2
    assert extent.bytes < 10**6


def test_a_full_disk_is_noticed_before_the_copy(tmp_path: Path) -> None:
    with pytest.raises(DemoFailed, match="needs"):
        check_space(Extent(1, shutil.disk_usage(tmp_path).free), tmp_path)
