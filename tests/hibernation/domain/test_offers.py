"""Choosing an offer: every constraint, the order, hosts to avoid."""

from __future__ import annotations

from decimal import Decimal

import pytest

from hibernation.domain.offers import Offer, OfferFilter, choose_offer, fits
from tests.hibernation.domain.factories import an_offer


@pytest.mark.parametrize(
    ("want", "fit"),
    [
        (OfferFilter(), True),
        (OfferFilter(gpu_type="RTX_4090"), True),
        (OfferFilter(gpu_type="H100"), False),
        (OfferFilter(gpu_count=2), False),
        (OfferFilter(region="US"), False),
        (OfferFilter(max_price=Decimal("0.40")), True),
        (OfferFilter(max_price=Decimal("0.39")), False),
        (OfferFilter(min_disk_gb=100), True),
        (OfferFilter(min_disk_gb=101), False),
    ],
)
def test_an_offer_fits_when_it_meets_every_wish(want: OfferFilter, fit: bool) -> None:
    assert fits(an_offer(), want) is fit


def test_the_cheapest_is_chosen_then_the_most_reliable_then_the_first() -> None:
    dear = an_offer(offer_id="a", price_per_hour=Decimal("0.41"))
    shaky = an_offer(offer_id="b", reliability=0.9)
    second, first = an_offer(offer_id="d"), an_offer(offer_id="c")
    ranked = [dear, shaky, second, first]
    chosen: list[str] = []
    while ranked:
        best = choose_offer(ranked, OfferFilter(), ())
        assert best is not None
        chosen.append(best.offer_id)
        ranked.remove(best)
    assert chosen == ["c", "d", "b", "a"]


def test_a_host_to_avoid_is_not_chosen() -> None:
    other = an_offer(offer_id="2", host="host-2", price_per_hour=Decimal(9))
    assert choose_offer([an_offer(), other], OfferFilter(), ["host-1"]) == other


@pytest.mark.parametrize("offers", [[], [an_offer()]])
def test_no_offer_that_fits_is_none(offers: list[Offer]) -> None:
    assert choose_offer(offers, OfferFilter(region="US"), ()) is None
