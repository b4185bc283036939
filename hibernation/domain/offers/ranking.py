"""The ranking: what each offer would cost until the work is done, not what its hour costs. Pure.

    hours of work × price + time until usable × price + GB down × price + GB up × price + the risk of losing it

Time until usable is what is restored and pulled at the bandwidth that is believed, and the boot; it is counted at the
hourly price whether or not the provider bills it, for somebody waits. Amounts are USD, sizes 10^9 bytes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from hibernation.domain.offers.fitting import Constraint, is_wished_gpu, misfits
from hibernation.domain.offers.memory import (
    HostFacts,
    believed_mbps,
    is_avoided,
    recent_failures,
    troubled_operators,
)
from hibernation.domain.offers.values import Offer, OfferFilter
from hibernation.domain.regions import place_rank

BOOT_SECONDS = 90.0
UNTOLD_MBPS = 100.0
"""What is counted on where nothing is told: little."""
SLOWEST_MBPS = 1.0
FASTEST_MBPS = 2500.0
"""No restore writes faster, so that bandwidth beyond it is worth nothing."""
UNTOLD_RELIABILITY = 0.9
RISK_PER_FAILURE = 0.2
OPERATOR_RISK = 0.3


@dataclass(frozen=True, slots=True)
class Need:
    """What a rental is for: GB to restore and of image to pull, GB that its hibernation will send, hours of work."""

    restore_gb: float = 0.0
    image_gb: float = 0.0
    upload_gb: float = 0.0
    session_hours: float = 4.0

    @property
    def download_gb(self) -> float:
        return self.restore_gb + self.image_gb


@dataclass(frozen=True, slots=True)
class Cost:
    """USD. ``risk`` is what is lost, on average, because the machine may fail: half the work and a second start."""

    work: float
    start: float
    download: float
    upload: float
    risk: float

    @property
    def total(self) -> float:
        return self.work + self.start + self.download + self.upload + self.risk


@dataclass(frozen=True, slots=True)
class Estimate:
    """``mbps``: the bandwidth counted on. ``chance_of_loss``: 0 to 1."""

    offer: Offer
    need: Need
    cost: Cost
    usable_seconds: float
    mbps: float
    chance_of_loss: float
    known: HostFacts | None
    operator_troubled: bool


@dataclass(frozen=True, slots=True)
class Ranked:
    """``rank`` counts from 1, ``place`` the wish's places from 0. ``words.reasons`` says why it stands there."""

    rank: int
    estimate: Estimate
    is_wished_gpu: bool
    place: int

    @property
    def offer(self) -> Offer:
        return self.estimate.offer

    @property
    def expected_cost_usd(self) -> Decimal:
        return usd(self.estimate.cost.total)

    @property
    def expected_usable_seconds(self) -> float:
        return self.estimate.usable_seconds


@dataclass(frozen=True, slots=True)
class Rejected:
    """``fails`` is never empty; ``known`` is what is remembered of the host, if anything."""

    offer: Offer
    fails: tuple[Constraint, ...]
    known: HostFacts | None = None


@dataclass(frozen=True, slots=True)
class Market:
    """What the offers are judged by: the need, and what is remembered of hosts, as of ``now``."""

    need: Need
    hosts: Mapping[str, HostFacts]
    now: datetime
    troubled: frozenset[str]

    def known(self, offer: Offer) -> HostFacts | None:
        return self.hosts.get(offer.host) if offer.host else None

    def estimate(self, offer: Offer) -> Estimate:
        need, known, price = self.need, self.known(offer), float(offer.price_per_hour)
        troubled = offer.operator in self.troubled
        believed = believed_mbps(offer.download_mbps or UNTOLD_MBPS, known, self.now)
        mbps = min(max(believed, SLOWEST_MBPS), FASTEST_MBPS)
        usable_seconds = BOOT_SECONDS + need.download_gb * 8000 / mbps
        chance = _chance_of_loss(offer, recent_failures(known, self.now), troubled)
        work, start = need.session_hours * price, usable_seconds / 3600 * price
        download = need.download_gb * float(offer.download_usd_gb)
        upload = need.upload_gb * float(offer.upload_usd_gb)
        cost = Cost(work, start, download, upload, chance * (work / 2 + start + download))
        return Estimate(offer, need, cost, usable_seconds, mbps, chance, known, troubled)


@dataclass(frozen=True, slots=True)
class Ranking:
    """Every offer exactly once, in ``ranked`` or ``rejected``; the best first. ``want`` and ``market`` decided it."""

    ranked: tuple[Ranked, ...]
    rejected: tuple[Rejected, ...]
    want: OfferFilter
    market: Market

    @property
    def best(self) -> Ranked | None:
        return self.ranked[0] if self.ranked else None


def rank_offers(
    offers: Iterable[Offer],
    want: OfferFilter,
    need: Need,
    hosts: Mapping[str, HostFacts],
    now: datetime,
    avoid_hosts: Collection[str] = (),
    *,
    last_resort: bool = False,
) -> Ranking:
    """Judge every offer: those that fit by expected cost, the others with each constraint they fail.

    The wish goes before the cost: the wished GPU before a stand-in, then the places in their order. Ties go to the
    sooner, the more reliable, the cheaper by the hour and the earlier id, so that the same offers always rank alike.
    ``avoid_hosts`` are never taken, and those that ``hosts`` says to avoid now only as a ``last_resort``.
    """
    market = Market(need, hosts, now, troubled_operators(hosts.values(), now))
    fitting: list[Estimate] = []
    rejected: list[Rejected] = []
    for offer in offers:
        known = market.known(offer)
        fails = misfits(offer, want)
        avoided = is_avoided(known, now) and not last_resort
        if avoided or (offer.host and offer.host in avoid_hosts):
            fails = (*fails, Constraint.HOST)
        if fails:
            rejected.append(Rejected(offer, fails, known))
        else:
            fitting.append(market.estimate(offer))
    return Ranking(_in_order(fitting, want), tuple(rejected), want, market)


def usd(amount: float) -> Decimal:
    """To the hundredth of a cent."""
    return Decimal(str(round(amount, 4)))


def _in_order(estimates: Iterable[Estimate], want: OfferFilter) -> tuple[Ranked, ...]:
    keyed = sorted(((_key(one, want), one) for one in estimates), key=lambda pair: pair[0])
    return tuple(
        Ranked(number, estimate, not key[0], key[1]) for number, (key, estimate) in enumerate(keyed, start=1)
    )


def _key(estimate: Estimate, want: OfferFilter) -> tuple[bool, int, float, float, float, Decimal, str]:
    offer = estimate.offer
    return (
        not is_wished_gpu(offer, want),
        place_rank(want.region, region=offer.region, country=offer.country) or 0,
        estimate.cost.total,
        estimate.usable_seconds,
        -offer.reliability,
        offer.price_per_hour,
        offer.offer_id,
    )


def _chance_of_loss(offer: Offer, failures: float, troubled: bool) -> float:
    """That the machine is lost before the work is done: what its provider says, and what was seen of it."""
    stays = offer.reliability or UNTOLD_RELIABILITY
    stays *= max(0.1, 1 - RISK_PER_FAILURE * failures)
    return 1 - stays * (1 - OPERATOR_RISK if troubled else 1)
