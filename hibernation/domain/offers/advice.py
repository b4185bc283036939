"""Nothing fits: which one constraint to relax, and what the best machine would cost then. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from hibernation.domain.offers.fitting import Constraint
from hibernation.domain.offers.ranking import Estimate, Ranking, Rejected, usd
from hibernation.domain.offers.values import Offer, OfferFilter
from hibernation.domain.offers.words import headline, money, place_of, wish


@dataclass(frozen=True, slots=True)
class Relaxation:
    """Were ``constraint`` relaxed to ``to``, ``offer`` would be the best. ``expected_cost_usd`` as in a ranking."""

    constraint: Constraint
    to: str
    offer: Offer
    expected_cost_usd: Decimal
    sentence: str


@dataclass(frozen=True, slots=True)
class Advice:
    """``relaxations``: at most one for each constraint, the cheapest first; empty where no single one helps."""

    relaxations: tuple[Relaxation, ...]
    sentence: str


def loosened(want: OfferFilter) -> tuple[OfferFilter, ...]:
    """What else to ask a marketplace for so that advice can be given: few questions, for it answers few.

    First the wished GPUs whatever else they are, then any GPU and at last any disk where everything else is as wished.
    Where no GPU is wished: any price, any place, any disk. The disk is in the price, so it is asked for with the rest.
    """
    any_disk = replace(want, min_disk_gb=0)
    if want.gpu_type is None:
        return replace(want, max_price=None), replace(want, region=None), any_disk
    wished = OfferFilter(gpu_type=want.gpu_type, gpu_count=want.gpu_count, min_disk_gb=want.min_disk_gb)
    return wished, replace(want, gpu_type=None), any_disk


def advise(ranking: Ranking) -> Advice:
    """What to relax, from the offers that fail one constraint alone."""
    near: dict[Constraint, list[Rejected]] = {}
    for rejected in ranking.rejected:
        if len(rejected.fails) == 1:
            near.setdefault(rejected.fails[0], []).append(rejected)
    found = [_relaxation(constraint, group, ranking) for constraint, group in near.items()]
    found.sort(key=lambda one: (one.constraint is Constraint.HOST, one.expected_cost_usd, one.constraint))
    return Advice(tuple(found), _sentence(found, ranking))


def _relaxation(constraint: Constraint, group: list[Rejected], ranking: Ranking) -> Relaxation:
    best, estimate = min(
        ((one, ranking.market.estimate(one.offer)) for one in group),
        key=lambda pair: (_step(constraint, pair[0]), pair[1].cost.total, pair[0].offer.offer_id),
    )
    return Relaxation(
        constraint,
        _to(constraint, best),
        best.offer,
        usd(estimate.cost.total),
        _do(constraint, best, estimate, ranking.want),
    )


def _step(constraint: Constraint, rejected: Rejected) -> float:
    """How large a relaxation is, where the smallest is what counts: a price cap is raised as little as may be."""
    if constraint is Constraint.PRICE:
        return float(rejected.offer.price_per_hour)
    known = rejected.known
    waits = constraint is Constraint.HOST and known is not None and known.avoid_until is not None
    return known.avoid_until.timestamp() if waits and known and known.avoid_until else 0.0


def _to(constraint: Constraint, rejected: Rejected) -> str:
    offer = rejected.offer
    match constraint:
        case Constraint.GPU_TYPE:
            return offer.gpu_type
        case Constraint.GPU_COUNT:
            return str(offer.gpu_count)
        case Constraint.GPU_MEMORY:
            return f"{offer.gpu_memory_gb:g}"
        case Constraint.COMPUTE_CAPABILITY:
            return f"{offer.compute_capability:g}"
        case Constraint.REGION:
            return offer.country or offer.region
        case Constraint.PRICE:
            return f"{offer.price_per_hour.normalize():f}"
        case Constraint.DISK:
            return str(offer.disk_gb)
        case Constraint.CUDA:
            return f"{offer.cuda:g}"
        case Constraint.RELIABILITY:
            return f"{offer.reliability:g}"
        case Constraint.DOWNLOAD:
            return f"{offer.download_mbps:g}"
        case Constraint.HOURS_LEFT:
            return f"{offer.hours_left or 0:g}"
        case Constraint.HOST:
            until = rejected.known.avoid_until if rejected.known else None
            return until.isoformat() if until else ""


def _do(constraint: Constraint, rejected: Rejected, estimate: Estimate, want: OfferFilter) -> str:
    offer, to = rejected.offer, _to(constraint, rejected)
    cost = f"{headline(offer)}, ${estimate.cost.total:.2f} expected for {estimate.need.session_hours:g} h"
    match constraint:
        case Constraint.PRICE:
            return f"raise max_price from {money(want.max_price or Decimal(0))} to ${to} an hour: {cost}"
        case Constraint.REGION:
            return f"take {place_of(offer)} as well: {cost}"
        case Constraint.GPU_TYPE:
            return f"take {to} instead of {want.gpu_type}: {cost}"
        case Constraint.DISK:
            return f"make do with {to} GB of disk instead of {want.min_disk_gb}: {cost}"
        case Constraint.HOST:
            return f"wait until {_when(rejected)}, when a host that disappointed may be taken again: {cost}"
        case _:
            return f"make do with {constraint} {to}: {cost}"


def _when(rejected: Rejected) -> str:
    until = rejected.known.avoid_until if rejected.known else None
    return f"{until:%Y-%m-%d %H:%M} UTC" if until else "the next wake"


def _sentence(found: list[Relaxation], ranking: Ranking) -> str:
    nothing = f"no offer fits ({wish(ranking.want)})"
    if found:
        return f"{nothing}: {'; or '.join(one.sentence for one in found)}"
    if ranking.rejected:
        return f"{nothing}, and none of {len(ranking.rejected)} would if one wish alone were dropped"
    return f"{nothing}, and nothing like it is listed now"
