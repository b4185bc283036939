"""Why an offer stands where it stands, in words for people. Pure."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from hibernation.domain.durations import in_words
from hibernation.domain.offers.fitting import Constraint
from hibernation.domain.offers.memory import is_avoided, recent_failures
from hibernation.domain.offers.ranking import Estimate, Market, Ranked, Ranking, Rejected
from hibernation.domain.offers.values import Offer, OfferFilter

NOTABLE_FAILURES = 0.05


def place_of(offer: Offer) -> str:
    country = offer.country if offer.country != offer.region else ""
    return f"{offer.region} ({country})" if country else offer.region


def headline(offer: Offer) -> str:
    """``2 x RTX 4090 in EU (SE) at $0.72/h``."""
    many = f"{offer.gpu_count} x " if offer.gpu_count > 1 else ""
    return f"{many}{offer.gpu_type} in {place_of(offer)} at {money(offer.price_per_hour)}/h"


def money(amount: Decimal) -> str:
    """USD without digits that say nothing."""
    return f"${amount.normalize():f}"


def wish(want: OfferFilter) -> str:
    """``RTX 3090, EU, at most $0.3/h``; or ``anything``."""
    many = f"{want.gpu_count} x " if want.gpu_count > 1 else ""
    cap = f"at most {money(want.max_price)}/h" if want.max_price is not None else ""
    return ", ".join(filter(None, (f"{many}{want.gpu_type or ''}".strip(), want.region, cap))) or "anything"


def reasons(ranked: Ranked, ranking: Ranking) -> tuple[str, ...]:
    """Everything that decided on this rank, the weightiest first."""
    estimate = ranked.estimate
    told = [
        "" if ranked.is_wished_gpu else f"stands in for {ranking.want.gpu_type}",
        f"choice {ranked.place + 1} of place" if ranked.place else "",
        _work(estimate),
        _traffic(estimate),
        _usable(estimate),
        _risk(estimate),
        _record(estimate, ranking.market),
    ]
    return tuple(text for text in told if text)


def selection(ranking: Ranking) -> str:
    """One sentence on why the best is the best, for the log."""
    best = ranking.ranked[0]
    total, hours = best.expected_cost_usd, best.estimate.need.session_hours
    text = f"{headline(best.offer)}: ${total:.2f} expected for {hours:g} h of work, usable in about {_minutes(best)}"
    if len(ranking.ranked) == 1:
        return f"{text}; the only one that fits"
    second = ranking.ranked[1]
    return f"{text}; next of {len(ranking.ranked)}: {headline(second.offer)}, ${second.expected_cost_usd:.2f}"


def why_not(rejected: Rejected, want: OfferFilter) -> str:
    """Every reason, in one line."""
    return "; ".join(_fails(constraint, rejected, want) for constraint in rejected.fails)


def _work(estimate: Estimate) -> str:
    return f"{estimate.need.session_hours:g} h at {money(estimate.offer.price_per_hour)} = ${estimate.cost.work:.2f}"


def _traffic(estimate: Estimate) -> str:
    cost, need, offer = estimate.cost, estimate.need, estimate.offer
    traffic = cost.download + cost.upload
    if not traffic:
        return ""
    down = f"{need.download_gb:.1f} GB down at {money(offer.download_usd_gb)}" if cost.download else ""
    up = f"{need.upload_gb:.1f} GB up at {money(offer.upload_usd_gb)}" if cost.upload else ""
    parts = " and ".join(filter(None, (down, up)))
    return f"{parts} = ${traffic:.2f}, {traffic / cost.total:.0%} of all"


def _usable(estimate: Estimate) -> str:
    need, offer = estimate.need, estimate.offer
    text = (
        f"usable in about {in_words(timedelta(seconds=estimate.usable_seconds))} (${estimate.cost.start:.2f})"
    )
    if not need.download_gb:
        return text
    believed = f"{need.download_gb:.1f} GB at {estimate.mbps:.0f} Mbit/s"
    if not offer.download_mbps:
        return f"{text}: {believed}, assumed for it tells none"
    less = estimate.mbps < offer.download_mbps
    return f"{text}: {believed}" + (f" of {offer.download_mbps:.0f} advertised" if less else "")


def _risk(estimate: Estimate) -> str:
    return (
        f"a loss is {estimate.chance_of_loss:.1%} likely: ${estimate.cost.risk:.2f}"
        if estimate.cost.risk
        else ""
    )


def _record(estimate: Estimate, market: Market) -> str:
    failures = recent_failures(estimate.known, market.now)
    texts = []
    if estimate.known is not None and is_avoided(estimate.known, market.now):
        texts.append(f"its host disappointed ({estimate.known.reason}), but nothing else fits")
    if failures >= NOTABLE_FAILURES:
        texts.append(f"its host failed before (weighs {failures:.1f})")
    if estimate.operator_troubled:
        texts.append("several of its operator's hosts failed lately")
    return "; ".join(texts)


def _minutes(ranked: Ranked) -> str:
    return in_words(timedelta(seconds=ranked.expected_usable_seconds))


def _fails(constraint: Constraint, rejected: Rejected, want: OfferFilter) -> str:
    offer = rejected.offer
    match constraint:
        case Constraint.GPU_TYPE:
            return f"is {offer.gpu_type}"
        case Constraint.GPU_COUNT:
            return f"has {offer.gpu_count} of {want.gpu_count} GPUs"
        case Constraint.GPU_MEMORY:
            return f"{offer.gpu_memory_gb or 'unknown'} of {want.min_gpu_memory_gb:g} GB GPU memory"
        case Constraint.COMPUTE_CAPABILITY:
            return f"compute capability {offer.compute_capability or 'unknown'} below {want.min_compute_capability:g}"
        case Constraint.REGION:
            return f"stands in {place_of(offer)}"
        case Constraint.PRICE:
            return f"costs {money(offer.price_per_hour)}/h"
        case Constraint.DISK:
            return f"{offer.disk_gb} of {want.min_disk_gb} GB disk"
        case Constraint.CUDA:
            return f"CUDA {offer.cuda or 'unknown'} below {want.min_cuda:g}"
        case Constraint.RELIABILITY:
            return f"reliability {offer.reliability:.1%} below {want.min_reliability:.1%}"
        case Constraint.DOWNLOAD:
            return f"{offer.download_mbps:.0f} of {want.min_download_mbps:.0f} Mbit/s down"
        case Constraint.HOURS_LEFT:
            return f"lasts {offer.hours_left or 0:.0f} of {want.min_hours_left:g} h"
        case Constraint.HOST:
            return _avoided(rejected)


def _avoided(rejected: Rejected) -> str:
    known = rejected.known
    if known is None or known.avoid_until is None:
        return "its host disappointed in this wake"
    return f"its host is avoided until {known.avoid_until:%Y-%m-%d %H:%M} UTC: {known.reason}"
