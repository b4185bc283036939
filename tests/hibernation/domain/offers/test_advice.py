"""What is said when nothing fits, and why each offer stands where it stands."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given

from hibernation.domain.offers import (
    Constraint,
    HostFacts,
    Need,
    Offer,
    OfferFilter,
    advise,
    loosened,
    rank_offers,
)
from hibernation.domain.offers.words import reasons, selection, why_not, wish
from tests.hibernation.domain.factories import NOON
from tests.hibernation.domain.offers.market import hosts, markets, needs, offer, rank, wishes

CAP = Decimal("0.30")


def test_the_cap_is_raised_as_little_as_may_be() -> None:
    near = offer("near", "0.34", download_usd_gb=Decimal("0.02"))
    advice = advise(
        rank(near, offer("far", "0.36"), want=OfferFilter(max_price=CAP), need=Need(restore_gb=100))
    )
    (one,) = advice.relaxations
    assert (one.constraint, one.to, one.offer) == (Constraint.PRICE, "0.34", near)
    assert "raise max_price from $0.3 to $0.34 an hour" in advice.sentence


def test_each_wish_is_dropped_alone_and_the_cheapest_way_comes_first() -> None:
    want = OfferFilter(gpu_type="RTX 3090", region="EU", max_price=CAP, min_disk_gb=100)
    rtx = {"gpu_type": "RTX 3090"}
    listed = [
        offer("dear", "0.40", **rtx),
        offer("us", "0.20", region="US", **rtx),
        offer("other", "0.25"),
        offer("small", "0.22", disk_gb=50, **rtx),
        offer("two", "0.10", region="US", disk_gb=50, **rtx),
    ]
    advice = advise(rank(*listed, want=want))
    assert [(one.constraint, one.offer.offer_id) for one in advice.relaxations] == [
        (Constraint.REGION, "us"),
        (Constraint.DISK, "small"),
        (Constraint.GPU_TYPE, "other"),
        (Constraint.PRICE, "dear"),
    ]
    for text in (
        "no offer fits (RTX 3090, EU, at most $0.3/h)",
        "take US as well",
        "50 GB of disk instead of 100",
    ):
        assert text in advice.sentence


@pytest.mark.parametrize(
    ("want", "told"),
    [
        (OfferFilter(min_cuda=13.0), "make do with cuda 0"),
        (OfferFilter(min_download_mbps=5000), "make do with download_mbps 1000"),
        (OfferFilter(gpu_count=2), "make do with gpu_count 1"),
        (OfferFilter(min_gpu_memory_gb=80), "make do with gpu_memory_gb 24"),
        (OfferFilter(min_compute_capability=9.0), "make do with compute_capability 8.9"),
        (OfferFilter(min_reliability=0.99), "make do with reliability 0.9"),
        (OfferFilter(min_hours_left=28), "make do with hours_left 5"),
    ],
)
def test_every_constraint_can_be_the_one_to_relax(want: OfferFilter, told: str) -> None:
    one = offer("a", "0.4", reliability=0.9, hours_left=5.0, gpu_memory_gb=24.0, compute_capability=8.9)
    assert told in advise(rank(one, want=want)).sentence


def test_a_host_that_disappointed_can_be_waited_for() -> None:
    known = HostFacts("host-a", avoid_until=NOON + timedelta(hours=2), reason="dead")
    later = HostFacts("host-b", avoid_until=NOON + timedelta(hours=9), reason="dead")
    ranking = rank(offer("b", "0.1"), offer("a", "0.4"), known=(known, later))
    assert "wait until 2026-01-01 14:00 UTC" in advise(ranking).sentence
    assert (
        why_not(ranking.rejected[1], ranking.want) == "its host is avoided until 2026-01-01 14:00 UTC: dead"
    )
    here = rank(offer("a", "0.4"), avoid_hosts=("host-a",))
    assert "wait until the next wake" in advise(here).sentence
    assert why_not(here.rejected[0], here.want) == "its host disappointed in this wake"


def test_where_no_single_wish_helps_it_says_so() -> None:
    want = OfferFilter(region="US", max_price=Decimal("0.1"))
    assert (
        "none of 1 would if one wish alone were dropped" in advise(rank(offer("a", "1"), want=want)).sentence
    )
    assert advise(rank()).sentence == "no offer fits (anything), and nothing like it is listed now"


@given(markets, wishes, needs, hosts)
def test_advice_that_is_followed_helps(
    listed: list[Offer], want: OfferFilter, need: Need, known: dict[str, HostFacts]
) -> None:
    ranking = rank_offers(listed, want, need, known, NOON)
    for one in advise(ranking).relaxations:
        if one.constraint is Constraint.PRICE:
            eased = rank_offers(listed, replace(want, max_price=Decimal(one.to)), need, known, NOON)
            assert eased.best is not None
        failing = next(r for r in ranking.rejected if r.offer == one.offer)
        assert failing.fails == (one.constraint,)


@given(markets, wishes, needs, hosts)
def test_every_offer_has_its_reason(
    listed: list[Offer], want: OfferFilter, need: Need, known: dict[str, HostFacts]
) -> None:
    ranking = rank_offers(listed, want, need, known, NOON)
    assert all(reasons(one, ranking) for one in ranking.ranked)
    assert all(why_not(one, want) for one in ranking.rejected)


def test_the_reasons_name_what_was_counted() -> None:
    want = OfferFilter(gpu_type="RTX 3090", allow_equivalents=True, max_price=Decimal(1), region="US,EU")
    one = offer(
        "a",
        "0.40",
        operator="op",
        country="SE",
        reliability=0.98,
        download_usd_gb=Decimal("0.02"),
        upload_usd_gb=Decimal("0.01"),
    )
    seen = HostFacts("host-a", "op", failures=1, failed_at=NOON, download_mbps=500, measured_at=NOON)
    bad = tuple(HostFacts(f"h{n}", "op", failures=1, failed_at=NOON) for n in range(2))
    ranking = rank(one, want=want, need=Need(restore_gb=100, upload_gb=10), known=(seen, *bad))
    assert reasons(ranking.ranked[0], ranking) == (
        "stands in for RTX 3090",
        "choice 2 of place",
        "4 h at $0.4 = $1.60",
        "100.0 GB down at $0.02 and 10.0 GB up at $0.01 = $2.10, 40% of all",
        "usable in about 28 min ($0.19): 100.0 GB at 500 Mbit/s of 1000 advertised",
        "a loss is 45.1% likely: $1.35",
        "its host failed before (weighs 1.0); several of its operator's hosts failed lately",
    )


def test_the_log_names_the_runner_up() -> None:
    text = selection(rank(offer("a", "0.40"), offer("b", "0.41", country="SE", gpu_count=2)))
    assert text.startswith(
        "RTX_4090 in EU at $0.4/h: $1.61 expected for 4 h of work, usable in about 1 min; next of 2"
    )
    assert "2 x RTX_4090 in EU (SE) at $0.41/h" in text
    assert "the only one that fits" in selection(rank(offer("a", "0.40")))


def test_a_marketplace_is_asked_little_and_with_the_disk_that_its_prices_depend_on() -> None:
    want = OfferFilter(gpu_type="RTX 3090", region="EU", max_price=CAP, min_disk_gb=50)
    assert loosened(want) == (
        OfferFilter(gpu_type="RTX 3090", min_disk_gb=50),
        OfferFilter(region="EU", max_price=CAP, min_disk_gb=50),
        OfferFilter(gpu_type="RTX 3090", region="EU", max_price=CAP),
    )
    anything = OfferFilter(region="EU", max_price=CAP)
    assert loosened(anything) == (OfferFilter(region="EU"), OfferFilter(max_price=CAP), anything)


def test_a_wish_in_words() -> None:
    assert wish(OfferFilter()) == "anything"
    assert wish(OfferFilter(gpu_type="H100", gpu_count=2, region="EU,US")) == "2 x H100, EU,US"
