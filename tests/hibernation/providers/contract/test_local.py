from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hibernation.providers.contract.contract import ProviderContract
from tests.hibernation.providers.contract.markets import Market, local_market

pytestmark = pytest.mark.network


class TestLocal(ProviderContract):
    @pytest.fixture
    def market(self, tmp_path: Path) -> Iterator[Market]:
        with local_market(tmp_path / "local") as market:
            yield market

    @pytest.fixture
    def real_market(self, market: Market) -> Market:
        return market
