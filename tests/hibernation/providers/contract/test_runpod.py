from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hibernation.providers.contract.contract import ProviderContract
from tests.hibernation.providers.contract.markets import Market, runpod_market

pytestmark = pytest.mark.network


class TestRunpod(ProviderContract):
    @pytest.fixture
    def market(self, tmp_path: Path) -> Iterator[Market]:
        with runpod_market() as market:
            yield market

    @pytest.fixture
    def real_market(self, tmp_path: Path) -> Iterator[Market]:
        with runpod_market(tmp_path / "runpod") as market:
            yield market
