"""What the local marketplace lists: a built-in catalogue, or ``provider/offers.json`` in its place."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

from hibernation.domain.errors import ProviderError
from hibernation.domain.offers import Offer
from hibernation.providers.local.files import read_json

GPU_MEMORY_MIB = {"RTX 3090": 24576, "RTX 4090": 24564, "RTX 5090": 32607, "A100": 81920, "H100": 81559}
OTHER_GPU_MEMORY_MIB = 24576

# offer id, host, GPU, how many, region, USD/h, disk GB, down Mbit/s, up Mbit/s, reliability
_BUILT_IN: tuple[tuple[str, str, str, int, str, str, int, float, float, float], ...] = (
    ("101", "host-11", "RTX 3090", 1, "EU", "0.15", 250, 800, 400, 0.985),
    ("102", "host-12", "RTX 3090", 1, "US", "0.18", 500, 1000, 900, 0.992),
    ("103", "host-13", "RTX 3090", 2, "ASIA", "0.34", 500, 600, 300, 0.971),
    ("104", "host-14", "RTX 4090", 1, "EU", "0.36", 600, 2500, 1800, 0.995),
    ("105", "host-15", "RTX 4090", 1, "US", "0.39", 800, 1500, 1500, 0.996),
    ("106", "host-16", "RTX 4090", 4, "US", "1.52", 2000, 5000, 5000, 0.998),
    ("107", "host-17", "RTX 5090", 1, "EU", "0.65", 500, 3000, 2000, 0.993),
    ("108", "host-18", "RTX 5090", 1, "ASIA", "0.58", 400, 900, 700, 0.964),
    ("109", "host-19", "A100", 1, "US", "1.10", 1500, 8000, 8000, 0.998),
    ("110", "host-20", "A100", 1, "EU", "1.25", 1000, 6000, 5000, 0.997),
    ("111", "host-21", "H100", 1, "US", "2.35", 2000, 10000, 10000, 0.999),
    ("112", "host-22", "H100", 1, "EU", "2.60", 2000, 10000, 9000, 0.999),
)


def list_offers(override: Path) -> list[Offer]:
    """Every offer, from the file if there is one. The file is a list of objects with the fields of ``Offer``."""
    rows = read_json(override, None)
    if rows is None:
        return [_built_in(*row) for row in _BUILT_IN]
    try:
        return [_from_file(row) for row in rows]
    except (TypeError, KeyError, ValueError, ArithmeticError) as error:
        raise ProviderError(f"{override} is not a list of offers: {error!r}") from error


def _built_in(
    offer_id: str,
    host: str,
    gpu_type: str,
    gpu_count: int,
    region: str,
    price: str,
    disk_gb: int,
    down: float,
    up: float,
    reliability: float,
) -> Offer:
    return Offer(
        "local", offer_id, host, gpu_type, gpu_count, region, Decimal(price), disk_gb, down, up, reliability
    )


def _from_file(row: dict[str, Any]) -> Offer:
    fields = {**row, "provider": "local", "offer_id": str(row["offer_id"])}
    return Offer(**{**fields, "price_per_hour": Decimal(str(row["price_per_hour"]))})
