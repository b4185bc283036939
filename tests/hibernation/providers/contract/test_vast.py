from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hibernation.providers.contract.contract import ProviderContract
from tests.hibernation.providers.contract.markets import Market, vast_market

pytestmark = pytest.mark.network


class TestVast(ProviderContract):
    @pytest.fixture
    def market(self, tmp_path: Path) -> Iterator[Market]:
        with vast_market() as market:
            yield market

    @pytest.fixture
    def real_market(self, tmp_path: Path) -> Iterator[Market]:
        with vast_market(tmp_path / "vast") as market:
            yield market
