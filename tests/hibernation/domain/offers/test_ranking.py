"""What an offer really costs, and the order that follows from it."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hibernation.domain.offers import Constraint, HostFacts, Need, Offer, OfferFilter, misfits, rank_offers
from hibernation.domain.offers.ranking import BOOT_SECONDS
from tests.hibernation.domain.factories import NOON
from tests.hibernation.domain.offers.market import hosts, markets, names, needs, offer, offers, rank, wishes

CENTS_2 = Decimal("0.02")


def test_a_hundred_gb_at_two_cents_outweigh_a_cheaper_hour() -> None:
    cheap = offer("cheap", "0.30", download_usd_gb=CENTS_2)
    free = offer("free", "0.45")
    assert names(rank(cheap, free, need=Need(restore_gb=100))) == ["free", "cheap"]
    assert names(rank(cheap, free, need=Need(restore_gb=1))) == ["cheap", "free"]


def test_traffic_may_be_two_fifths_of_the_bill() -> None:
    """749 GB cost $13.40 of $32.57 on one real bill; the rest was 40 minutes of eight GPUs."""
    gb_price = Decimal("13.40") / 749
    machine = offer("eight", "28.755", download_usd_gb=gb_price, download_mbps=2500, reliability=1.0)
    cost = rank(machine, need=Need(restore_gb=749, session_hours=0.0)).ranked[0].estimate.cost
    assert cost.download == pytest.approx(13.40)
    assert cost.download / cost.total == pytest.approx(0.41, abs=0.02)


def test_a_slow_network_costs_time_which_costs_money() -> None:
    slow, fast = offer("slow", "0.40", download_mbps=50), offer("fast", "0.45", download_mbps=2000)
    assert names(rank(slow, fast, need=Need(restore_gb=100))) == ["fast", "slow"]
    assert names(rank(slow, fast)) == ["slow", "fast"]


def test_time_until_usable_is_the_boot_and_what_is_restored_and_pulled() -> None:
    ranked = rank(offer("a", "1", download_mbps=800), need=Need(restore_gb=9, image_gb=1)).ranked[0]
    assert ranked.expected_usable_seconds == BOOT_SECONDS + 100
    assert ranked.expected_cost_usd == Decimal("4.0528")


def test_a_measured_bandwidth_counts_and_fades() -> None:
    liar, honest = offer("liar", "0.40", download_mbps=2000), offer("honest", "0.42", download_mbps=900)
    seen = HostFacts("host-liar", download_mbps=100.0, measured_at=NOON)
    old = replace(seen, measured_at=NOON - timedelta(days=365))
    need = Need(restore_gb=50)
    assert names(rank(liar, honest, need=need, known=(seen,))) == ["honest", "liar"]
    assert names(rank(liar, honest, need=need, known=(old,))) == ["liar", "honest"]


def test_a_host_that_failed_is_avoided_and_later_only_trusted_less() -> None:
    bad, good = offer("bad", "0.40"), offer("good", "0.41")
    known = HostFacts("host-bad", failures=2, failed_at=NOON, avoid_until=NOON + timedelta(hours=1))
    ranking = rank(bad, good, known=(known,))
    assert names(ranking) == ["good"]
    assert ranking.rejected[0].fails == (Constraint.HOST,)
    assert names(rank(bad, good, known=(replace(known, avoid_until=NOON),))) == ["good", "bad"]
    assert names(rank(bad, known=(known,), last_resort=True)) == ["bad"]


def test_an_operator_with_three_bad_hosts_is_trusted_less() -> None:
    theirs, others = offer("theirs", "0.40", operator="op"), offer("others", "0.42")
    known = tuple(HostFacts(f"h{n}", "op", failures=1, failed_at=NOON) for n in range(3))
    assert names(rank(theirs, others, known=known[:2])) == ["theirs", "others"]
    assert names(rank(theirs, others, known=known)) == ["others", "theirs"]


def test_what_failed_in_this_wake_is_never_taken_not_even_as_a_last_resort() -> None:
    assert names(rank(offer("a", "1"), avoid_hosts=("host-a",), last_resort=True)) == []


def test_a_provider_without_hosts_has_none_to_avoid() -> None:
    assert names(rank(offer("a", "1", host=""), avoid_hosts=("",))) == ["a"]


def test_the_wished_gpu_goes_before_a_cheaper_stand_in() -> None:
    want = OfferFilter(gpu_type="RTX 3090", allow_equivalents=True, max_price=Decimal("0.50"))
    stand_in, wished = offer("4090", "0.20"), offer("3090", "0.40", gpu_type="RTX 3090")
    ranking = rank(stand_in, wished, want=want)
    assert names(ranking) == ["3090", "4090"]
    assert [one.is_wished_gpu for one in ranking.ranked] == [True, False]


def test_places_go_in_the_order_of_the_wish() -> None:
    us, eu = offer("us", "0.20", region="US"), offer("eu", "0.40", region="EU")
    assert names(rank(us, eu, want=OfferFilter(region="EU,US"))) == ["eu", "us"]
    assert names(rank(us, eu)) == ["us", "eu"]


def test_reliability_decides_between_like_offers_and_then_the_id() -> None:
    listed = [offer("d", "0.4"), offer("c", "0.4"), offer("b", "0.4", reliability=0.95), offer("a", "0.41")]
    assert names(rank(*listed)) == ["c", "d", "a", "b"]


@given(markets, wishes, needs, hosts, st.integers())
def test_a_ranking_is_total_and_does_not_depend_on_the_order_of_the_list(
    listed: list[Offer], want: OfferFilter, need: Need, known: dict[str, HostFacts], seed: int
) -> None:
    ranking = rank_offers(listed, want, need, known, NOON)
    told = [one.offer.offer_id for one in (*ranking.ranked, *ranking.rejected)]
    assert sorted(told) == sorted(one.offer_id for one in listed)
    assert [one.rank for one in ranking.ranked] == list(range(1, len(ranking.ranked) + 1))
    shuffled = random.Random(seed).sample(listed, len(listed))
    assert rank_offers(shuffled, want, need, known, NOON).ranked == ranking.ranked


@given(markets, wishes, needs, hosts)
def test_no_offer_that_fails_a_wish_is_ranked(
    listed: list[Offer], want: OfferFilter, need: Need, known: dict[str, HostFacts]
) -> None:
    ranking = rank_offers(listed, want, need, known, NOON, avoid_hosts=("h5",))
    for one in ranking.ranked:
        assert misfits(one.offer, want) == ()
        assert one.offer.host != "h5"
        until = known[one.offer.host].avoid_until if one.offer.host in known else None
        assert until is None or until <= NOON
    assert all(one.fails for one in ranking.rejected)


better = st.fixed_dictionaries(
    {},
    optional={
        "price_per_hour": st.integers(0, 400).map(lambda n: Decimal(n) / 1000),
        "download_usd_gb": st.integers(0, 20).map(lambda n: Decimal(n) / 1000),
        "upload_usd_gb": st.integers(0, 20).map(lambda n: Decimal(n) / 1000),
        "download_mbps": st.floats(0, 5000),
        "reliability": st.floats(0, 1),
    },
)


@given(offers, better, needs, hosts)
def test_an_offer_that_is_better_in_every_respect_never_ranks_worse(
    one: Offer, steps: dict[str, Any], need: Need, known: dict[str, HostFacts]
) -> None:
    one = replace(one, reliability=max(one.reliability, 0.01), download_mbps=max(one.download_mbps, 1.0))
    changes = {name: getattr(one, name) - step for name, step in steps.items() if "mbps" not in name}
    changes = {name: max(value, Decimal(0)) for name, value in changes.items() if name != "reliability"}
    changes["download_mbps"] = one.download_mbps + steps.get("download_mbps", 0.0)
    changes["reliability"] = min(1.0, one.reliability + steps.get("reliability", 0.0))
    finer = replace(one, offer_id="0", **changes)
    ranking = rank_offers([one, finer], OfferFilter(), need, known, NOON, last_resort=True)
    assert names(ranking)[0] == "0"
