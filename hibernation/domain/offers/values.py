"""Offers and what is wanted of them, as values. Pure: the listing itself is the provider's."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any


@dataclass(frozen=True, slots=True)
class OfferFilter:
    """What a machine must offer. ``None``, zero and empty mean «any». Prices: USD an hour; sizes: GB; rates: Mbit/s.

    ``gpu_type`` may be a family (``A100``), and with ``allow_equivalents`` and a price cap others will do as well:
    a marketplace is asked for ``hibernation.domain.offers.gpu_types(want)``. ``region`` is one place or several with
    commas, the most wanted first; each is a region of ours or a country (``hibernation.domain.regions``).
    """

    gpu_type: str | None = None
    gpu_count: int = 1
    allow_equivalents: bool = False
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
