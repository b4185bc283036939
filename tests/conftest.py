"""Fixtures that need the database. Django is imported only when one is used, so that the rest runs without it."""

from __future__ import annotations

import os
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


def pytest_configure(config: pytest.Config) -> None:
    """Workers side by side share the server: what each keeps there has its own names."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker and "DUMONT_BROKER_URL" in os.environ:
        from django.conf import settings

        settings.CACHES["default"]["KEY_PREFIX"] += f":{worker}"


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
