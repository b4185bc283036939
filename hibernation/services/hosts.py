"""The memory of hosts: written as wakes meet them, read when offers are ranked, forgotten when it counts no more."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q

from hibernation.domain.offers import HostFacts, Offer, Verdict
from hibernation.domain.offers.memory import judged, measured
from hibernation.models import Host
from hibernation.services.clock import db_now

FORGOTTEN_AFTER = timedelta(days=90)
"""By then a failure counts a hundredth and a measurement nothing."""


def remembered(provider: str) -> dict[str, HostFacts]:
    """Everything known of a provider's hosts, by host: few rows, for most hosts never draw attention."""
    return {row.host: _facts(row) for row in Host.objects.filter(provider=provider)}


def remember_verdict(offer: Offer, verdict: Verdict, reason: str, now: datetime) -> None:
    """One more verdict on the offer's host. For what is the host's doing: see ``domain.offers.verdict_on``."""
    _change(offer, lambda known: judged(known, verdict, reason, now))


def remember_speed(offer: Offer, download_mbps: float, now: datetime) -> None:
    """One more measurement of the offer's host, in Mbit/s."""
    _change(offer, lambda known: measured(known, download_mbps, now))


def forget_old() -> int:
    """Delete what nothing has been added to for long; how many hosts. Repeatable."""
    before = db_now() - FORGOTTEN_AFTER
    judged_long_ago = Q(judged_at__isnull=True) | Q(judged_at__lt=before)
    measured_long_ago = Q(measured_at__isnull=True) | Q(measured_at__lt=before)
    ended = Q(avoid_until__isnull=True) | Q(avoid_until__lt=db_now())
    return Host.objects.filter(judged_long_ago, measured_long_ago, ended).delete()[0]


@transaction.atomic
def _change(offer: Offer, change: Callable[[HostFacts], HostFacts]) -> None:
    """Under the row's lock: several wakes may meet one host. A provider without hosts has nothing to remember."""
    if not offer.host:
        return
    Host.objects.get_or_create(provider=offer.provider, host=offer.host)
    row = Host.objects.select_for_update(no_key=True).get(provider=offer.provider, host=offer.host)
    row.operator = offer.operator or row.operator
    after = change(_facts(row))
    row.verdict = after.verdict or ""
    row.reason, row.judged_at, row.avoid_until = after.reason, after.judged_at, after.avoid_until
    row.failures, row.failed_at = after.failures, after.failed_at
    row.download_mbps, row.measured_at = after.download_mbps, after.measured_at
    row.save()


def _facts(row: Host) -> HostFacts:
    return HostFacts(
        host=row.host,
        operator=row.operator,
        verdict=Verdict(row.verdict) if row.verdict else None,
        reason=row.reason,
        judged_at=row.judged_at,
        avoid_until=row.avoid_until,
        failures=row.failures,
        failed_at=row.failed_at,
        download_mbps=row.download_mbps,
        measured_at=row.measured_at,
    )
