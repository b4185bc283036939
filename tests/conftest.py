"""Fixtures that need the database. Django is imported only when one is used, so that the rest runs without it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from django.test import Client
    from pytest_django import Settings

    from tests.hibernation.services.world import World


def pytest_addoption(parser: pytest.Parser) -> None:
    folder = Path(__file__).parent / "browser" / "artifacts"
    parser.addoption("--artifacts", type=Path, default=folder, help="where browser tests leave screenshots")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings, db: None) -> Iterator[World]:
    """A provider, boxes and a store in memory and in a folder; nothing is sent to a broker."""
    from hibernation.snapshots.registry import get_store
    from tests.hibernation.services.world import make_world

    yield make_world(tmp_path, monkeypatch, settings)
    get_store.cache_clear()


@pytest.fixture
def api(db: None) -> Client:
    """A client with the token of ana, an owner of the default team."""
    from django.test import Client

    from hibernation.services.tokens import create_api_token
    from tests.factories import make_user

    token = create_api_token(make_user("ana"), "test")
    return Client(headers={"Authorization": f"Bearer {token}"})
