"""What was seen of a host: how long it is avoided for it, and what that is worth as time passes. Pure.

A machine's listed properties do not foretell whether it comes up, so what happened there is remembered.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from hibernation.domain.errors import BoxError, DumontError, LaunchLeftover, NoCapacity, OfferGone

FAILED_FOR = timedelta(hours=24)
"""How long a host is avoided that failed once; each further failure that still counts doubles it."""
AT_MOST = timedelta(days=30)
TOO_SLOW_FOR = timedelta(hours=24)
NO_CAPACITY_FOR = timedelta(minutes=10)
NO_CAPACITY_AGAIN_FOR = timedelta(minutes=30)
NO_CAPACITY_COUNTS = timedelta(hours=1)

FAILURES_HALVE = timedelta(days=14)
SPEED_HALVES = timedelta(days=7)
TROUBLED_HOSTS = 3
"""An operator of whom so many hosts failed lately is mistrusted with all of them."""
COUNTS_STILL = 0.5


class Verdict(StrEnum):
    """``failed``: rented, and it did not come up, or broke. ``no_capacity``: it could not be rented though listed.

    ``too_slow``: it came up and its network is no use.
    """

    FAILED = "failed"
    NO_CAPACITY = "no_capacity"
    TOO_SLOW = "too_slow"


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What is remembered of one host. ``failures`` as of ``failed_at``, ``download_mbps`` as of ``measured_at``.

    It is not taken until ``avoid_until``, because of ``verdict``, which was given at ``judged_at``.
    """

    host: str
    operator: str = ""
    verdict: Verdict | None = None
    reason: str = ""
    judged_at: datetime | None = None
    avoid_until: datetime | None = None
    failures: float = 0.0
    failed_at: datetime | None = None
    download_mbps: float | None = None
    measured_at: datetime | None = None


def is_avoided(known: HostFacts | None, now: datetime) -> bool:
    return known is not None and known.avoid_until is not None and known.avoid_until > now


def recent_failures(known: HostFacts | None, now: datetime) -> float:
    """How many failures still count: each counts half after two weeks, a quarter after four."""
    if known is None or known.failed_at is None:
        return 0.0
    return known.failures * _left(now - known.failed_at, FAILURES_HALVE)


def believed_mbps(advertised: float, known: HostFacts | None, now: datetime) -> float:
    """The bandwidth to count on, in Mbit/s: what is advertised, or less if less was measured.

    A measurement is believed the less the older it is, until the advertisement counts again.
    """
    if known is None or known.download_mbps is None or known.measured_at is None:
        return advertised
    weight = _left(now - known.measured_at, SPEED_HALVES)
    return min(advertised, weight * known.download_mbps + (1 - weight) * advertised)


def judged(known: HostFacts, verdict: Verdict, reason: str, now: datetime) -> HostFacts:
    """``known`` after one more verdict. Never ends an avoidance earlier than it would have ended."""
    until, kept = now + _avoided_for(known, verdict, now), known.avoid_until
    after = replace(known, verdict=verdict, reason=reason, judged_at=now, avoid_until=until)
    if kept is not None and kept > until:
        after = replace(known, judged_at=now)
    if verdict is not Verdict.FAILED:
        return after
    return replace(after, failures=recent_failures(known, now) + 1, failed_at=now)


def measured(known: HostFacts, mbps: float, now: datetime) -> HostFacts:
    """``known`` after its download was measured: the mean with what was known, which counts the less the older."""
    before = known.download_mbps
    weight = 0.0
    if before is not None and known.measured_at is not None:
        weight = 0.5 * _left(now - known.measured_at, SPEED_HALVES)
    mean = mbps if before is None else weight * before + (1 - weight) * mbps
    return replace(known, download_mbps=mean, measured_at=now)


def troubled_operators(known: Iterable[HostFacts], now: datetime) -> frozenset[str]:
    """Operators of whom several different hosts failed lately."""
    hosts: defaultdict[str, set[str]] = defaultdict(set)
    for one in known:
        if one.operator and recent_failures(one, now) >= COUNTS_STILL:
            hosts[one.operator].add(one.host)
    return frozenset(operator for operator, names in hosts.items() if len(names) >= TROUBLED_HOSTS)


def verdict_on(error: DumontError) -> Verdict | None:
    """What an error on the way to a running machine says of its host; ``None``: nothing.

    Our own order, account or image, the provider's outages and answers that were lost are no host's fault.
    """
    if isinstance(error, OfferGone | NoCapacity):
        return Verdict.NO_CAPACITY
    return Verdict.FAILED if isinstance(error, BoxError | LaunchLeftover) else None


def _avoided_for(known: HostFacts, verdict: Verdict, now: datetime) -> timedelta:
    match verdict:
        case Verdict.FAILED:
            return min(FAILED_FOR * 2 ** min(recent_failures(known, now), 16), AT_MOST)
        case Verdict.TOO_SLOW:
            return TOO_SLOW_FOR
        case Verdict.NO_CAPACITY:
            last = known.judged_at if known.verdict is Verdict.NO_CAPACITY else None
            again = last is not None and now - last < NO_CAPACITY_COUNTS
            return NO_CAPACITY_AGAIN_FOR if again else NO_CAPACITY_FOR


def _left(age: timedelta, half_life: timedelta) -> float:
    return float(0.5 ** (max(age, timedelta(0)) / half_life))
