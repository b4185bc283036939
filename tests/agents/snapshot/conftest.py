from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

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
