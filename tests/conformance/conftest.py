"""Fixtures around the official client. Its tests run only when they are asked for: it has to be fetched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.official import IndexUnreachable, Official, installed_client
from tests.fakes.vast import ManualClock, VastFake


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "conformance" not in (config.option.markexpr or ""):
        for item in items:
            if item.get_closest_marker("conformance"):
                item.add_marker(pytest.mark.skip("runs with -m conformance only"))


@pytest.fixture(scope="session")
def client_folder() -> Path:
    try:
        return installed_client()
    except IndexUnreachable as error:
        pytest.skip(str(error))


@pytest.fixture
def fake() -> Iterator[VastFake]:
    with VastFake(clock=ManualClock()) as fake:
        yield fake


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared, so that only the first command asks for GPU names and for the account's role."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def vastai(client_folder: Path, home: Path, fake: VastFake) -> Official:
    return Official(client_folder, home, fake)
