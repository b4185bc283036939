from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

from hibernation.domain.errors import ProviderError
from hibernation.domain.offers import Offer, OfferFilter
from hibernation.providers.local import LocalProvider


@pytest.fixture
def quiet(tmp_path: Path) -> LocalProvider:
    return LocalProvider(tmp_path)


def override(provider: LocalProvider, content: object) -> None:
    (provider.root / "provider").mkdir()
    (provider.root / "provider" / "offers.json").write_text(json.dumps(content))


def test_cheapest_offer_comes_first(quiet: LocalProvider) -> None:
    prices = [offer.price_per_hour for offer in quiet.search_offers(OfferFilter())]
    assert len(prices) == 12
    assert prices == sorted(prices)


@pytest.mark.parametrize(
    "want",
    [
        OfferFilter(gpu_type="H100"),
        OfferFilter(gpu_count=4),
        OfferFilter(region="ASIA"),
        OfferFilter(max_price=Decimal("0.36")),
        OfferFilter(min_disk_gb=2000),
    ],
)
def test_each_filter_leaves_only_what_fits(quiet: LocalProvider, want: OfferFilter) -> None:
    found = quiet.search_offers(want)
    assert 0 < len(found) < 12
    for offer in found:
        assert want.gpu_type in (None, offer.gpu_type)
        assert want.region in (None, offer.region)
        assert offer.gpu_count >= want.gpu_count
        assert offer.disk_gb >= want.min_disk_gb
        assert want.max_price is None or offer.price_per_hour <= want.max_price


def test_nothing_that_fits_is_an_empty_list(quiet: LocalProvider) -> None:
    assert quiet.search_offers(OfferFilter(gpu_type="H100", max_price=Decimal("0.01"))) == []


def test_a_file_replaces_the_catalogue(quiet: LocalProvider) -> None:
    row = {"offer_id": 7, "host": "h", "gpu_type": "B200", "gpu_count": 8, "region": "EU"}
    override(quiet, [{**row, "price_per_hour": 9.5, "disk_gb": 10}])
    assert quiet.search_offers(OfferFilter()) == [
        Offer("local", "7", "h", "B200", 8, "EU", Decimal("9.5"), 10)
    ]


@pytest.mark.parametrize("content", [[{"host": "h"}], [3], 4, [{"offer_id": 1, "price_per_hour": "x"}]])
def test_a_broken_file_is_a_provider_error(quiet: LocalProvider, content: object) -> None:
    override(quiet, content)
    with pytest.raises(ProviderError, match=r"offers\.json"):
        quiet.search_offers(OfferFilter())
