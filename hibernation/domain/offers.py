"""Offers as values and the choice among them. Pure: the listing itself is the provider's."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any


@dataclass(frozen=True, slots=True)
class OfferFilter:
    """What a machine must offer. ``None``, zero and empty mean «any». Prices: USD an hour; sizes: GB; rates: Mbit/s."""

    gpu_type: str | None = None
    gpu_count: int = 1
    region: str | None = None
    max_price: Decimal | None = None
    min_disk_gb: int = 0
    min_gpu_memory_gb: float = 0.0
    min_compute_capability: float = 0.0
    min_cuda: float = 0.0
    min_reliability: float = 0.0
    min_download_mbps: float = 0.0
    min_hours_left: float = 0.0


@dataclass(frozen=True, slots=True)
class Offer:
    """One rentable machine, as listed.

    ``host`` names the physical machine and ``operator`` who runs it, so that bad ones can be avoided.
    ``price_per_hour`` is all that an hour costs, the disk that was asked for included. ``region`` is one of ours
    (``EU``, ``US``, ``ASIA``, …), ``country`` ISO 3166 alpha-2. ``hours_left``: how long the offer lasts, ``None``
    without an end. Zero and empty mean «not told».
    """

    provider: str
    offer_id: str
    host: str
    gpu_type: str
    gpu_count: int
    region: str
    price_per_hour: Decimal
    disk_gb: int
    download_mbps: float = 0.0
    upload_mbps: float = 0.0
    reliability: float = 1.0
    operator: str = ""
    country: str = ""
    gpu_memory_gb: float = 0.0
    compute_capability: float = 0.0
    cuda: float = 0.0
    driver: str = ""
    disk_mb_s: float = 0.0
    disk_usd_gb_month: Decimal = Decimal(0)
    download_usd_gb: Decimal = Decimal(0)
    upload_usd_gb: Decimal = Decimal(0)
    hours_left: float | None = None
    raw: dict[str, Any] = field(default_factory=dict, compare=False, hash=False)


def fits(offer: Offer, want: OfferFilter) -> bool:
    """Every constraint, checked on our side as well: marketplaces do not always apply their filters."""
    return (
        (want.gpu_type is None or offer.gpu_type == want.gpu_type)
        and offer.gpu_count >= want.gpu_count
        and (want.region is None or offer.region == want.region)
        and (want.max_price is None or offer.price_per_hour <= want.max_price)
        and offer.disk_gb >= want.min_disk_gb
    )


def choose_offer(offers: Iterable[Offer], want: OfferFilter, avoid_hosts: Collection[str]) -> Offer | None:
    """The cheapest that fits on a host not in ``avoid_hosts``; ties go to the more reliable, then the older id."""
    usable = [o for o in offers if fits(o, want) and o.host not in avoid_hosts]
    return min(usable, key=lambda o: (o.price_per_hour, -o.reliability, o.offer_id), default=None)
