from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agents.snapshot.harness import Box, Cloud, serve_cloud


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    with serve_cloud(tmp_path / "store") as cloud:
        yield cloud


@pytest.fixture
def make_box(tmp_path: Path, cloud: Cloud) -> Callable[[str], Box]:
    return lambda name: Box(tmp_path / name, cloud)


@pytest.fixture
def box(make_box: Callable[[str], Box]) -> Box:
    return make_box("one")


@pytest.fixture
def other(make_box: Callable[[str], Box]) -> Box:
    return make_box("two")


@pytest.fixture
def frozen(box: Box) -> dict[str, Any]:
    """What a freeze of small files, two big ones and a link told."""
    (box.workspace / "src").mkdir()
    for number in range(40):
        (box.workspace / "src" / f"m{number}.py").write_text(f"value = {number}\n" * 50)
    (box.workspace / "weights.bin").write_bytes(os.urandom(20 << 20))
    (box.workspace / "more.bin").write_bytes(os.urandom(9 << 20))
    (box.workspace / "link").symlink_to("src")
    return box.freeze("s1")
