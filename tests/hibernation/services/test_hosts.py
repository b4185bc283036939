"""The memory of hosts on real rows."""

from __future__ import annotations

from datetime import timedelta

import pytest

from hibernation.domain.offers import Verdict
from hibernation.models import Host
from hibernation.services.clock import db_now
from hibernation.services.hosts import (
    FORGOTTEN_AFTER,
    forget_old,
    remember_speed,
    remember_verdict,
    remembered,
)
from tests.factories import PROVIDER, make_offer

pytestmark = pytest.mark.django_db
OFFER = make_offer(1, operator="op")


def test_what_happened_on_a_host_is_kept_in_one_row() -> None:
    now = db_now()
    remember_verdict(OFFER, Verdict.FAILED, "dead", now)
    remember_speed(OFFER, 300.0, now)
    remember_verdict(OFFER, Verdict.FAILED, "dead again", now + timedelta(hours=1))
    known = remembered(PROVIDER)["host-1"]
    assert (known.operator, known.verdict, known.reason) == ("op", Verdict.FAILED, "dead again")
    assert known.failures == pytest.approx(2, abs=0.01)
    assert known.download_mbps == 300.0
    assert known.avoid_until is not None
    assert known.avoid_until > now + timedelta(hours=47)
    assert Host.objects.count() == 1


def test_hosts_of_another_provider_are_other_hosts() -> None:
    remember_speed(OFFER, 300.0, db_now())
    assert remembered("another") == {}
    known = remembered(PROVIDER)["host-1"]
    assert (known.verdict, known.avoid_until) == (None, None)


def test_an_offer_without_a_host_leaves_no_trace() -> None:
    remember_speed(make_offer(1, host=""), 300.0, db_now())
    assert not Host.objects.exists()


def test_an_operator_that_is_not_told_again_is_not_forgotten() -> None:
    remember_speed(OFFER, 300.0, db_now())
    remember_speed(make_offer(1), 300.0, db_now())
    assert Host.objects.get().operator == "op"


def test_what_counts_no_more_is_forgotten() -> None:
    now = db_now()
    long_ago = now - FORGOTTEN_AFTER - timedelta(hours=1)
    remember_verdict(make_offer(1), Verdict.FAILED, "dead", long_ago)
    remember_speed(make_offer(2), 300.0, long_ago)
    remember_verdict(make_offer(3), Verdict.FAILED, "dead", long_ago)
    remember_speed(make_offer(3), 300.0, now)
    remember_verdict(make_offer(4), Verdict.NO_CAPACITY, "taken", now)
    assert forget_old() == 2
    assert set(remembered(PROVIDER)) == {"host-3", "host-4"}
    assert forget_old() == 0
