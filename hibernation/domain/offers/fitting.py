"""Whether an offer is what is wanted, and if not, for which constraints. Pure.

Every constraint is checked on our side: marketplaces do not always apply their filters.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from hibernation.domain.offers.gpus import equivalents, facts_of, gpu_name, wished_types
from hibernation.domain.offers.values import Offer, OfferFilter
from hibernation.domain.regions import place_rank

USABLE_MEMORY = 0.95
"""What a card of 24 GB says it has is less than 24 GB: the rest is the driver's."""


class Constraint(StrEnum):
    """What an offer can fail. ``host``: its host is avoided for what was seen of it, whatever is wished."""

    GPU_TYPE = "gpu_type"
    GPU_COUNT = "gpu_count"
    GPU_MEMORY = "gpu_memory_gb"
    COMPUTE_CAPABILITY = "compute_capability"
    REGION = "region"
    PRICE = "max_price"
    DISK = "disk_gb"
    CUDA = "cuda"
    RELIABILITY = "reliability"
    DOWNLOAD = "download_mbps"
    HOURS_LEFT = "hours_left"
    HOST = "host"


def fits(offer: Offer, want: OfferFilter) -> bool:
    return all(holds(offer, want) for _, holds in _CHECKS)


def misfits(offer: Offer, want: OfferFilter) -> tuple[Constraint, ...]:
    """Every constraint that the offer fails. What it does not tell, it does not have."""
    return tuple(constraint for constraint, holds in _CHECKS if not holds(offer, want))


def gpu_types(want: OfferFilter) -> tuple[str, ...]:
    """The GPU types to ask a marketplace for, the wished ones first; empty means «any»."""
    if want.gpu_type is None:
        return ()
    return wished_types(want.gpu_type) + (equivalents(want.gpu_type) if _may_stand_in(want) else ())


def is_wished_gpu(offer: Offer, want: OfferFilter) -> bool:
    """The wished type itself, or none was wished; else at best a stand-in."""
    return want.gpu_type is None or gpu_name(offer.gpu_type) in wished_types(want.gpu_type)


def gpu_memory_gb(offer: Offer) -> float:
    """Of one GPU, as the offer tells or as its type has; zero if neither is known."""
    return offer.gpu_memory_gb or _known(offer, "memory_gb")


def _may_stand_in(want: OfferFilter) -> bool:
    """Only below a price cap: without one, what stands in for a small GPU may cost ten times as much."""
    return want.allow_equivalents and want.max_price is not None


def _gpu_fits(offer: Offer, want: OfferFilter) -> bool:
    return is_wished_gpu(offer, want) or (_may_stand_in(want) and _stands_in(offer, want.gpu_type or ""))


def _stands_in(offer: Offer, wish: str) -> bool:
    wished = facts_of(wish)
    if wished is None or gpu_name(offer.gpu_type) not in equivalents(wish):
        return False
    return gpu_memory_gb(offer) >= USABLE_MEMORY * wished.memory_gb


def _known(offer: Offer, fact: str) -> float:
    known = facts_of(offer.gpu_type)
    return float(getattr(known, fact)) if known is not None else 0.0


def _capability(offer: Offer) -> float:
    return offer.compute_capability or _known(offer, "compute_capability")


def _place_fits(offer: Offer, want: OfferFilter) -> bool:
    return place_rank(want.region, region=offer.region, country=offer.country) is not None


_CHECKS: tuple[tuple[Constraint, Callable[[Offer, OfferFilter], bool]], ...] = (
    (Constraint.GPU_TYPE, _gpu_fits),
    (Constraint.GPU_COUNT, lambda o, w: o.gpu_count >= w.gpu_count),
    (Constraint.REGION, _place_fits),
    (Constraint.PRICE, lambda o, w: w.max_price is None or o.price_per_hour <= w.max_price),
    (Constraint.DISK, lambda o, w: o.disk_gb >= w.min_disk_gb),
    (
        Constraint.GPU_MEMORY,
        lambda o, w: not w.min_gpu_memory_gb or gpu_memory_gb(o) >= USABLE_MEMORY * w.min_gpu_memory_gb,
    ),
    (
        Constraint.COMPUTE_CAPABILITY,
        lambda o, w: not w.min_compute_capability or _capability(o) >= w.min_compute_capability,
    ),
    (Constraint.CUDA, lambda o, w: o.cuda >= w.min_cuda),
    (Constraint.RELIABILITY, lambda o, w: o.reliability >= w.min_reliability),
    (Constraint.DOWNLOAD, lambda o, w: o.download_mbps >= w.min_download_mbps),
    (Constraint.HOURS_LEFT, lambda o, w: o.hours_left is None or o.hours_left >= w.min_hours_left),
)
