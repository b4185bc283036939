"""Looking at the market: what is offered, what this rental is for, what is remembered of the hosts. Read-only."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from statistics import fmean

from django.db.models import Sum

from hibernation.domain.effects import OffersSeen
from hibernation.domain.errors import RateLimited
from hibernation.domain.offers import Need, Offer, OfferFilter, Ranking, loosened, rank_offers
from hibernation.domain.states import SnapshotState
from hibernation.models import Instance, Snapshot, UsageInterval
from hibernation.providers.base import Provider
from hibernation.providers.registry import get_provider
from hibernation.services.clock import db_now
from hibernation.services.forgettable import keep, recall, seconds_to_wait
from hibernation.services.hosts import remembered

IMAGE_GB = 5.0
"""What an image with CUDA and a framework weighs packed. No provider tells, and it is the same for every offer."""
SESSIONS = 5
SHORTEST_HOURS, LONGEST_HOURS = 1.0, 72.0
CACHED_SECONDS = 60
PEOPLE_A_MINUTE = 6
"""Searches at a provider that people may cause together. vast.ai allows ten, and a line of theirs would delay wakes."""


class TooManyQuestions(RateLimited):
    """People asked for as much as they may in this minute."""


Search = Callable[[OfferFilter], Iterable[Offer]]


def look(
    instance: Instance, snapshot: Snapshot | None, want: OfferFilter, *, widely: bool = False
) -> OffersSeen:
    """What a wake chooses from. ``widely``: also what fails the wish. Raises ``ProviderError``; never cached."""
    provider = get_provider(instance.provider)
    offers = _ask(provider.search_offers, (want, *loosened(want)) if widely else (want,))
    return OffersSeen(offers, need_of(instance, snapshot), remembered(instance.provider), widely)


def ranking_for_people(provider: str, want: OfferFilter, need: Need) -> Ranking:
    """The ranking as a wake would make it now, with what fails the wish. Lists may be a minute old.

    What is further from the wish is asked for only where nothing fits. Raises ``ProviderError``.
    """
    search, hosts = _cached(get_provider(provider)), remembered(provider)
    wished, *others = loosened(want)
    offers = _ask(search, (want, wished))
    ranking = rank_offers(offers, want, need, hosts, db_now())
    if ranking.best is not None or not others:
        return ranking
    return rank_offers(_ask(search, (want, wished, *others)), want, need, hosts, db_now())


def need_of(instance: Instance, snapshot: Snapshot | None) -> Need:
    """What the next rental is for, by what the last ones were: a guess, and the same for every offer."""
    stored = snapshot.packs.aggregate(size=Sum("size"))["size"] if snapshot is not None else 0
    return Need(
        restore_gb=(stored or 0) / 1e9,
        image_gb=IMAGE_GB if instance.image else 0.0,
        upload_gb=_usually_sent(instance) / 1e9,
        session_hours=_usual_hours(instance),
    )


def _usually_sent(instance: Instance) -> float:
    proven = instance.snapshots.filter(state=SnapshotState.VERIFIED).order_by("-id")
    sizes = list(proven.values_list("bytes_stored_new", flat=True)[:SESSIONS])
    return fmean(sizes) if sizes else 0.0


def _usual_hours(instance: Instance) -> float:
    ended = UsageInterval.objects.filter(instance=instance, ended_at__isnull=False, stopped=False).order_by(
        "-id"
    )
    hours = [
        (end - start).total_seconds() / 3600
        for start, end in ended.values_list("started_at", "ended_at")[:SESSIONS]
        if end is not None
    ]
    return min(max(fmean(hours), SHORTEST_HOURS), LONGEST_HOURS) if hours else Need().session_hours


def _ask(search: Search, questions: Iterable[OfferFilter]) -> tuple[Offer, ...]:
    """The answers to different questions in one list, each offer once and as first told: a price includes the disk."""
    found: dict[str, Offer] = {}
    for want in dict.fromkeys(questions):
        for offer in search(want):
            found.setdefault(offer.offer_id, offer)
    return tuple(found.values())


def _cached(provider: Provider) -> Search:
    """Marketplaces allow few searches a minute, and a page that is reloaded must not use them up for the wakes."""

    def search(want: OfferFilter) -> Iterable[Offer]:
        key = "offers:" + hashlib.sha256(f"{provider.name} {want!r}".encode()).hexdigest()
        found: list[Offer] | None = recall(key)
        if found is None:
            if (
                provider.lists_cost
                and seconds_to_wait(f"offers:{provider.name}", PEOPLE_A_MINUTE) is not None
            ):
                raise TooManyQuestions(
                    "Too many different questions about offers: ask again in a minute.", CACHED_SECONDS
                )
            found = list(provider.search_offers(want))
            keep(key, found, CACHED_SECONDS)
        return found

    return search
