"""The workspace that is made is the same each time, and has every oddity."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dumont.demo.compare import compare
from dumont.demo.generator import make_workspace
from dumont.demo.inventory import Inventory, take_inventory
from hibernation.providers.local.files import remove_tree


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Path]:
    make_workspace(tmp_path / "one", weight_bytes=2_500_000)
    yield tmp_path / "one"
    remove_tree(tmp_path / "one")  # pytest does not get past what is read-only


@pytest.fixture
def inventory(made: Path) -> Inventory:
    return take_inventory(str(made))


def test_the_same_seed_makes_the_same_tree_to_the_nanosecond(made: Path, inventory: Inventory) -> None:
    again = made.with_name("two")
    make_workspace(again, weight_bytes=2_500_000)
    assert compare(inventory, take_inventory(str(again))) == []
    remove_tree(again)


def test_another_seed_makes_another(made: Path, inventory: Inventory) -> None:
    again = made.with_name("two")
    make_workspace(again, seed=2, weight_bytes=2_500_000)
    assert compare(inventory, take_inventory(str(again))) != []
    remove_tree(again)


def test_the_weights_have_the_size_asked_for(made: Path) -> None:
    assert (made / "checkpoints" / "model.safetensors").stat().st_size == 2_500_000


def test_it_holds_every_kind_of_oddity(made: Path, inventory: Inventory) -> None:
    entries = inventory.entries
    assert entries["checkpoints/dangling"].target == "../nowhere/at/all"
    assert entries["data/train-again.jsonl"].linked_to == "data/train-again.jsonl"
    assert entries["odd/sealed"].mode == 0o555
    assert entries["odd/sealed/read-only"].mode == 0o444
    assert entries["odd/empty/deeper/still empty"].kind == "directory"
    assert "odd/a\nnewline" in entries
    assert os.fsdecode(b"odd/caf\xe9.txt") in entries
    assert inventory.skipped == {"odd/pipe": "FIFO"}
    sparse = (made / "data" / "index.sparse").stat()
    assert sparse.st_blocks * 512 < sparse.st_size / 10
