"""The market that every test here gets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from hibernation.snapshots.registry import get_store
from tests.market.harness import Market, opened


@pytest.fixture
def market(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings, db: None) -> Iterator[Market]:
    """The fake vast.ai with a hundred machines, and Dumont as its customer."""
    with opened(tmp_path, monkeypatch, settings) as market:
        yield market
    get_store.cache_clear()
