"""How long a ranking of many offers takes, against a plain sort of the same offers by price.

.venv/bin/python -m benchmarks.offers [--offers 2000] [--rounds 30]
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hibernation.domain.offers import HostFacts, Need, Offer, OfferFilter, Ranking, advise, rank_offers
from hibernation.domain.offers.gpus import GPUS
from hibernation.domain.offers.words import reasons, why_not
from hibernation.domain.regions import REGIONS, region_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NEED = Need(restore_gb=100, image_gb=5, upload_gb=20)
EVERYTHING = OfferFilter(min_reliability=0.5)
NARROW = OfferFilter(
    gpu_type="RTX 3090",
    allow_equivalents=True,
    region="EU,US",
    max_price=Decimal("0.60"),
    min_disk_gb=120,
    min_cuda=12.4,
    min_reliability=0.9,
    min_hours_left=28,
)
NOTHING = OfferFilter(gpu_type="RTX 3090", region="EU", max_price=Decimal("0.01"))


def market(count: int) -> tuple[list[Offer], dict[str, HostFacts]]:
    """Offers as varied as a marketplace's, always the same, and a memory of every tenth host."""
    draw = random.Random(1)
    places = sorted(country for countries in REGIONS.values() for country in countries)
    offers = [_offer(number, draw, places) for number in range(count)]
    known = {offer.host: _memory(offer, draw) for offer in offers[::10]}
    return offers, known


def _offer(number: int, draw: random.Random, places: list[str]) -> Offer:
    country = draw.choice(places)
    return Offer(
        provider="bench",
        offer_id=str(number),
        host=f"host-{number}",
        gpu_type=draw.choice(sorted(GPUS)),
        gpu_count=draw.choice((1, 1, 1, 2, 4, 8)),
        region=region_of(country),
        country=country,
        price_per_hour=Decimal(draw.randrange(80, 4000)) / 1000,
        disk_gb=draw.randrange(20, 2000),
        download_mbps=draw.uniform(50, 5000),
        reliability=draw.uniform(0.85, 1),
        operator=f"operator-{number % 300}",
        cuda=draw.choice((11.8, 12.4, 12.8)),
        download_usd_gb=Decimal(draw.randrange(0, 30)) / 1000,
        upload_usd_gb=Decimal(draw.randrange(0, 30)) / 1000,
        hours_left=draw.uniform(1, 2000),
    )


def _memory(offer: Offer, draw: random.Random) -> HostFacts:
    then = NOW - timedelta(hours=draw.uniform(1, 1000))
    until = then + timedelta(hours=24)
    return HostFacts(
        offer.host,
        offer.operator,
        avoid_until=until,
        failures=1,
        failed_at=then,
        download_mbps=300,
        measured_at=then,
    )


def milliseconds(action: Callable[[], object], rounds: int) -> float:
    """CPU time of one call, the median: the wall clock of a shared machine says less."""
    taken = []
    for _ in range(rounds):
        begun = time.thread_time()
        action()
        taken.append(time.thread_time() - begun)
    return statistics.median(taken) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--offers", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    offers, known = market(options.offers)

    def rank(want: OfferFilter) -> object:
        return rank_offers(offers, want, NEED, known, NOW)

    ranked, nothing = (rank_offers(offers, want, NEED, known, NOW) for want in (NARROW, NOTHING))
    actions: tuple[tuple[str, Callable[[], object]], ...] = (
        ("plain sort by price", lambda: sorted(offers, key=lambda offer: offer.price_per_hour)),
        ("rank, nearly all fit", lambda: rank(EVERYTHING)),
        (f"rank, {len(ranked.ranked)} fit", lambda: rank(NARROW)),
        ("advice when none fits", lambda: advise(nothing)),
        ("words for all", lambda: _words(ranked)),
    )
    plain = None
    print(f"{options.offers} offers, CPU ms, median of {options.rounds}")
    for name, action in actions:
        taken = milliseconds(action, options.rounds)
        plain = plain or taken
        print(f"{name:24} {taken:8.2f} {taken / plain:7.0f} x")


def _words(ranking: Ranking) -> None:
    for one in ranking.ranked:
        reasons(one, ranking)
    for other in ranking.rejected:
        why_not(other, ranking.want)


if __name__ == "__main__":
    main()
