"""Offers, wishes and memories for tests, and the ranking at noon."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from hibernation.domain.offers import HostFacts, Need, Offer, OfferFilter, Ranking, rank_offers
from tests.hibernation.domain.factories import NOON, an_offer

prices = st.integers(1, 5000).map(lambda n: Decimal(n) / 1000)
gb_prices = st.integers(0, 50).map(lambda n: Decimal(n) / 1000)
needs = st.builds(
    Need,
    restore_gb=st.floats(0, 2000),
    image_gb=st.floats(0, 30),
    upload_gb=st.floats(0, 500),
    session_hours=st.floats(0.5, 72),
)
memories = st.builds(
    HostFacts,
    host=st.sampled_from(["h1", "h2", "h3", "h4"]),
    operator=st.sampled_from(["", "o1", "o2"]),
    avoid_until=st.none() | st.integers(-5, 5).map(lambda hours: NOON + timedelta(hours=hours)),
    failures=st.floats(0, 10),
    failed_at=st.none() | st.integers(0, 100).map(lambda days: NOON - timedelta(days=days)),
    download_mbps=st.none() | st.floats(1, 5000),
    measured_at=st.none() | st.integers(0, 100).map(lambda days: NOON - timedelta(days=days)),
)
hosts = st.lists(memories, max_size=4).map(lambda rows: {row.host: row for row in rows})
offers = st.builds(
    Offer,
    provider=st.just("sim"),
    offer_id=st.integers(1, 10**6).map(str),
    host=st.sampled_from(["", "h1", "h2", "h3", "h4", "h5"]),
    gpu_type=st.sampled_from(["RTX 3090", "RTX_4090", "RTX 5090", "A100 SXM4", "?"]),
    gpu_count=st.integers(1, 4),
    region=st.sampled_from(["EU", "US", "ASIA", "OTHER"]),
    country=st.sampled_from(["", "SE", "US"]),
    price_per_hour=prices,
    disk_gb=st.integers(0, 1000),
    download_mbps=st.floats(0, 10_000),
    reliability=st.floats(0, 1),
    operator=st.sampled_from(["", "o1", "o2"]),
    gpu_memory_gb=st.sampled_from([0.0, 23.9, 47.8]),
    cuda=st.sampled_from([0.0, 11.8, 12.8]),
    download_usd_gb=gb_prices,
    upload_usd_gb=gb_prices,
    hours_left=st.none() | st.floats(0, 1000),
)
markets = st.lists(offers, max_size=12, unique_by=lambda offer: offer.offer_id)
wishes = st.builds(
    OfferFilter,
    gpu_type=st.sampled_from([None, "RTX 3090", "RTX 4090", "A100"]),
    gpu_count=st.integers(1, 2),
    allow_equivalents=st.booleans(),
    region=st.sampled_from([None, "EU", "EU,US", "SE,EU"]),
    max_price=st.none() | prices,
    min_disk_gb=st.sampled_from([0, 100]),
    min_gpu_memory_gb=st.sampled_from([0.0, 24.0]),
    min_compute_capability=st.sampled_from([0.0, 8.9]),
    min_cuda=st.sampled_from([0.0, 12.0]),
    min_reliability=st.sampled_from([0.0, 0.5]),
    min_download_mbps=st.sampled_from([0.0, 500.0]),
    min_hours_left=st.sampled_from([0.0, 28.0]),
)

ANYTHING, PLAIN = OfferFilter(), Need()


def offer(name: str, price: str, **more: Any) -> Offer:
    """On a host of its own, with a plain gigabit and no traffic prices unless told."""
    facts = {"host": f"host-{name}", "download_mbps": 1000.0, **more}
    return an_offer(offer_id=name, price_per_hour=Decimal(price), **facts)


def rank(
    *listed: Offer,
    want: OfferFilter = ANYTHING,
    need: Need = PLAIN,
    known: tuple[HostFacts, ...] = (),
    **more: Any,
) -> Ranking:
    return rank_offers(listed, want, need, {one.host: one for one in known}, NOON, **more)


def names(ranking: Ranking) -> list[str]:
    return [one.offer.offer_id for one in ranking.ranked]
