"""A local provider for each test, whose machines end with it, and one key for all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hibernation.providers.local import LocalProvider
from tests.hibernation.providers.renting import make_key


@pytest.fixture(scope="session")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_key(tmp_path_factory.mktemp("key"))


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[LocalProvider]:
    provider = LocalProvider(tmp_path / "local")
    yield provider
    provider.destroy_all()


@pytest.fixture
def plain_provider(tmp_path: Path) -> Iterator[LocalProvider]:
    """As on a host that allows no namespaces."""
    provider = LocalProvider(tmp_path / "local", namespaces=False)
    yield provider
    provider.destroy_all()
