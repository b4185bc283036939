"""Hosts: how long they are avoided, and how what was seen fades."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hibernation.domain.errors import (
    BadOrder,
    BoxUnreachable,
    DumontError,
    HostKeyChanged,
    LaunchLeftover,
    NoCapacity,
    OfferGone,
    OutOfCredit,
    ProviderDenied,
    ProviderRefused,
    ProviderUnavailable,
    RateLimited,
)
from hibernation.domain.offers import HostFacts, Verdict, verdict_on
from hibernation.domain.offers.memory import (
    AT_MOST,
    believed_mbps,
    is_avoided,
    judged,
    measured,
    recent_failures,
    troubled_operators,
)
from tests.hibernation.domain.factories import NOON

FRESH = HostFacts("h")
HOUR = timedelta(hours=1)
ages = st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=400))


def avoided_for(known: HostFacts) -> timedelta:
    assert known.avoid_until is not None
    return known.avoid_until - NOON


def test_a_failure_costs_a_day_and_the_next_ones_twice_as_long() -> None:
    known, spans = FRESH, []
    for _ in range(3):
        known = judged(known, Verdict.FAILED, "dead", NOON)
        spans.append(avoided_for(known))
    assert spans == [24 * HOUR, 48 * HOUR, 96 * HOUR]
    assert (known.failures, known.verdict, known.reason) == (3, Verdict.FAILED, "dead")


def test_failures_without_end_cost_a_month() -> None:
    known = HostFacts("h", failures=1e9, failed_at=NOON)
    assert avoided_for(judged(known, Verdict.FAILED, "dead", NOON)) == AT_MOST


def test_failures_of_long_ago_count_little() -> None:
    known = judged(FRESH, Verdict.FAILED, "dead", NOON - timedelta(days=140))
    assert avoided_for(judged(known, Verdict.FAILED, "dead", NOON)) < 24.1 * HOUR


def test_a_host_without_capacity_is_asked_again_soon_and_then_later() -> None:
    once = judged(FRESH, Verdict.NO_CAPACITY, "taken", NOON)
    assert avoided_for(once) == timedelta(minutes=10)
    again = judged(once, Verdict.NO_CAPACITY, "taken", NOON + timedelta(minutes=11))
    assert avoided_for(again) == timedelta(minutes=41)
    assert avoided_for(judged(once, Verdict.NO_CAPACITY, "taken", NOON + 2 * HOUR)) == timedelta(minutes=130)
    assert again.failures == 0


def test_a_slow_host_is_avoided_for_a_day() -> None:
    slow = judged(FRESH, Verdict.TOO_SLOW, "30 Mbit/s", NOON)
    assert (avoided_for(slow), slow.failures) == (24 * HOUR, 0)


def test_a_lighter_verdict_does_not_end_a_heavier_one() -> None:
    known = judged(judged(FRESH, Verdict.FAILED, "dead", NOON), Verdict.NO_CAPACITY, "taken", NOON)
    assert (avoided_for(known), known.verdict, known.reason) == (24 * HOUR, Verdict.FAILED, "dead")


def test_a_host_is_avoided_until_the_moment_and_not_after() -> None:
    known = judged(FRESH, Verdict.FAILED, "dead", NOON)
    assert is_avoided(known, NOON + 23.9 * HOUR)
    assert not is_avoided(known, NOON + 24 * HOUR)
    assert not is_avoided(None, NOON)
    assert not is_avoided(FRESH, NOON)


@given(ages, ages)
def test_failures_fade_and_never_grow(one: timedelta, other: timedelta) -> None:
    known = judged(FRESH, Verdict.FAILED, "dead", NOON)
    sooner, later = sorted((one, other))
    assert 1 >= recent_failures(known, NOON + sooner) >= recent_failures(known, NOON + later) >= 0


@given(ages, ages, st.floats(1, 1e5), st.floats(1, 1e5))
def test_a_measurement_fades_towards_what_is_advertised(
    one: timedelta, other: timedelta, seen: float, advertised: float
) -> None:
    known = measured(FRESH, seen, NOON)
    sooner, later = (believed_mbps(advertised, known, NOON + age) for age in sorted((one, other)))
    assert sooner <= later * (1 + 1e-9)
    assert min(seen, advertised) * (1 - 1e-9) <= sooner <= advertised


def test_an_advertisement_is_never_exceeded_and_counts_where_nothing_was_measured() -> None:
    assert believed_mbps(100, measured(FRESH, 900, NOON), NOON) == 100
    assert believed_mbps(100, FRESH, NOON) == believed_mbps(100, None, NOON) == 100
    assert believed_mbps(900, measured(FRESH, 100, NOON), NOON + timedelta(days=7)) == 500


def test_measurements_are_averaged_and_old_ones_count_less() -> None:
    known = measured(FRESH, 100, NOON)
    assert measured(known, 300, NOON).download_mbps == 200
    assert measured(known, 300, NOON + timedelta(days=7)).download_mbps == 250
    assert measured(known, 300, NOON + timedelta(days=700)).download_mbps == pytest.approx(300)


def test_an_operator_is_mistrusted_after_three_different_hosts() -> None:
    hosts = [judged(HostFacts(f"h{n}", "op"), Verdict.FAILED, "dead", NOON) for n in range(3)]
    assert troubled_operators(hosts, NOON) == {"op"}
    assert troubled_operators(hosts[:2], NOON) == set()
    assert troubled_operators([hosts[0]] * 3, NOON) == set()
    assert troubled_operators(hosts, NOON + timedelta(days=60)) == set()
    nobodys = [judged(HostFacts(f"h{n}"), Verdict.FAILED, "dead", NOON) for n in range(3)]
    assert troubled_operators(nobodys, NOON) == set()


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (OfferGone(), Verdict.NO_CAPACITY),
        (NoCapacity(), Verdict.NO_CAPACITY),
        (BoxUnreachable(), Verdict.FAILED),
        (HostKeyChanged(), Verdict.FAILED),
        (LaunchLeftover("dead", "7"), Verdict.FAILED),
        (BadOrder(), None),
        (OutOfCredit(), None),
        (ProviderDenied(), None),
        (ProviderRefused(), None),
        (ProviderUnavailable(), None),
        (RateLimited(), None),
    ],
)
def test_only_what_is_the_hosts_doing_is_held_against_it(error: DumontError, verdict: Verdict | None) -> None:
    assert verdict_on(error) is verdict
