"""Choosing an offer within a wake: the ranking of what was found, the event that says why, the advice. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from hibernation.domain.effects import JobSeen, OffersSeen, SearchOffers
from hibernation.domain.facts import Facts
from hibernation.domain.offers import Advice, Offer, Ranked, Ranking, advise, rank_offers
from hibernation.domain.offers.words import reasons, selection
from hibernation.domain.outcomes import Emit, MeasuredHost
from hibernation.domain.pacing import overdue
from hibernation.domain.states import EventType

MEASURABLE_BYTES = 1_000_000_000
MEASURABLE_SECONDS = 60.0
"""A restore that moved less, or took less, says more about our polling than about the host's network."""


def search(facts: Facts) -> SearchOffers:
    """Widely once nothing was found, so that people are told early what to relax, and before giving up."""
    widely = facts.operation.failures == 1 or overdue(facts, facts.limits.choose)
    return SearchOffers(facts.operation.want, widely)


def ranking_of(facts: Facts, seen: OffersSeen) -> Ranking:
    """The ranking; where nothing else fits for a while, hosts that disappointed other wakes are taken again.

    A workspace that cannot wake is worse than a host that may fail once more. What failed in this wake stays out, and
    so does what another wake is renting at this moment.
    """
    avoid = facts.operation.memo.avoid_hosts
    seen = replace(seen, offers=tuple(offer for offer in seen.offers if not _is_held(offer, seen.held)))
    ranking = rank_offers(seen.offers, facts.operation.want, seen.need, seen.hosts, facts.now, avoid)
    if ranking.best is not None or not overdue(facts, facts.limits.last_resort):
        return ranking
    again = rank_offers(
        seen.offers, facts.operation.want, seen.need, seen.hosts, facts.now, avoid, last_resort=True
    )
    return again if again.best is not None else ranking


def _is_held(offer: Offer, held: Collection[str]) -> bool:
    return offer.offer_id in held or offer.host in held


def selected(best: Ranked, ranking: Ranking) -> Emit:
    """Why this offer, and what the next best would have been."""
    offer = best.offer
    data: dict[str, Any] = {
        "offer_id": offer.offer_id,
        "host": offer.host,
        "expected_cost_usd": str(best.expected_cost_usd),
        "expected_usable_seconds": round(best.expected_usable_seconds),
        "reasons": list(reasons(best, ranking)),
        "fitting": len(ranking.ranked),
    }
    if len(ranking.ranked) > 1:
        second = ranking.ranked[1]
        data["runner_up"] = {
            "offer_id": second.offer.offer_id,
            "host": second.offer.host,
            "expected_cost_usd": str(second.expected_cost_usd),
        }
    return Emit(EventType.OFFER_SELECTED, selection(ranking), data)


def advice_of(ranking: Ranking) -> tuple[str, dict[str, Any]]:
    """What to relax, as a sentence and as data."""
    advice = advise(ranking)
    return advice.sentence, {"relax": relaxations(advice)}


def relaxations(advice: Advice) -> list[dict[str, str]]:
    return [
        {
            "constraint": one.constraint.value,
            "to": one.to,
            "offer_id": one.offer.offer_id,
            "price_per_hour_usd": str(one.offer.price_per_hour),
            "expected_cost_usd": str(one.expected_cost_usd),
        }
        for one in advice.relaxations
    ]


def measured(facts: Facts, done: JobSeen) -> tuple[MeasuredHost, ...]:
    """What a finished restore says of its host's bandwidth, if anything."""
    offer, moved = facts.operation.memo.offer, done.progress.get("bytes_moved", 0)
    seconds = (facts.now - facts.operation.entered_at).total_seconds()
    if offer is None or moved < MEASURABLE_BYTES or seconds < MEASURABLE_SECONDS:
        return ()
    return (MeasuredHost(offer, moved * 8 / 1e6 / seconds),)
