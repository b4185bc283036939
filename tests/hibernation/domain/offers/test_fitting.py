"""Every constraint, GPUs that stand in for others, and places."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from hibernation.domain.offers import Constraint, OfferFilter, fits, gpu_types, misfits
from hibernation.domain.offers.gpus import GPUS, equivalents, gpu_name
from tests.hibernation.domain.factories import an_offer

C = Constraint
CAP = Decimal("0.50")


@pytest.mark.parametrize(
    ("want", "fails"),
    [
        (OfferFilter(), ()),
        (OfferFilter(gpu_type="RTX_4090"), ()),
        (OfferFilter(gpu_type="RTX 4090"), ()),
        (OfferFilter(gpu_type="H100"), (C.GPU_TYPE,)),
        (OfferFilter(gpu_count=2), (C.GPU_COUNT,)),
        (OfferFilter(region="US"), (C.REGION,)),
        (OfferFilter(region="US,EU"), ()),
        (OfferFilter(region="SE"), (C.REGION,)),
        (OfferFilter(max_price=Decimal("0.40")), ()),
        (OfferFilter(max_price=Decimal("0.39")), (C.PRICE,)),
        (OfferFilter(min_disk_gb=100), ()),
        (OfferFilter(min_disk_gb=101), (C.DISK,)),
        (OfferFilter(min_gpu_memory_gb=24), ()),
        (OfferFilter(min_gpu_memory_gb=32), (C.GPU_MEMORY,)),
        (OfferFilter(min_compute_capability=8.9), ()),
        (OfferFilter(min_compute_capability=9.0), (C.COMPUTE_CAPABILITY,)),
        (OfferFilter(min_cuda=12.4), (C.CUDA,)),
        (OfferFilter(min_reliability=1.0), ()),
        (OfferFilter(min_download_mbps=100), (C.DOWNLOAD,)),
        (OfferFilter(min_hours_left=28), ()),
        (OfferFilter(gpu_type="H100", region="US"), (C.GPU_TYPE, C.REGION)),
    ],
)
def test_an_offer_fits_when_it_fails_no_wish(want: OfferFilter, fails: tuple[Constraint, ...]) -> None:
    assert misfits(an_offer(), want) == fails
    assert fits(an_offer(), want) is not fails or not fails


@pytest.mark.parametrize(
    ("told", "want"),
    [
        ({"gpu_memory_gb": 24.564 * 0.98}, OfferFilter(min_gpu_memory_gb=24)),
        ({"cuda": 12.8}, OfferFilter(min_cuda=12.4)),
        ({"hours_left": 30.0}, OfferFilter(min_hours_left=28)),
        ({"country": "SE"}, OfferFilter(region="SE")),
    ],
)
def test_what_an_offer_tells_counts(told: dict[str, Any], want: OfferFilter) -> None:
    assert fits(an_offer(**told), want)


def test_an_offer_that_ends_too_soon_does_not_fit() -> None:
    assert misfits(an_offer(hours_left=27.0), OfferFilter(min_hours_left=28)) == (C.HOURS_LEFT,)


@pytest.mark.parametrize(
    ("wished", "stand_ins", "others"),
    [
        (
            "RTX 3090",
            {"RTX 4090", "RTX A6000", "L40S"},
            {"A100 SXM4", "RTX 5090", "L4", "RTX 3080", "H100 SXM"},
        ),
        ("RTX_4090", {"RTX 6000Ada", "L40S"}, {"RTX 3090", "RTX 3090 Ti", "RTX 5090"}),
        ("A100", {"RTX A6000", "RTX 6000Ada"} - {"RTX A6000", "RTX 6000Ada"}, {"H100 SXM", "A40"}),
        ("H100", {"H200"}, {"B200", "A100 SXM4"}),
        ("some GPU of next year", set(), {"H100 SXM"}),
    ],
)
def test_a_stand_in_runs_what_ran_on_the_wished_gpu(
    wished: str, stand_ins: set[str], others: set[str]
) -> None:
    found = set(equivalents(wished))
    assert stand_ins <= found
    assert not others & found


@pytest.mark.parametrize("wished", GPUS)
def test_no_stand_in_has_less_than_the_wished_gpu(wished: str) -> None:
    for name in equivalents(wished):
        assert GPUS[name].memory_gb >= GPUS[wished].memory_gb
        assert GPUS[name].compute_capability >= GPUS[wished].compute_capability
        assert name != wished


def test_stand_ins_are_asked_for_and_fit_only_below_a_price_cap() -> None:
    wish = OfferFilter(gpu_type="RTX 3090", allow_equivalents=True)
    capped = OfferFilter(gpu_type="RTX 3090", allow_equivalents=True, max_price=CAP)
    strict = OfferFilter(gpu_type="RTX 3090", max_price=CAP)
    assert [fits(an_offer(), want) for want in (wish, capped, strict)] == [False, True, False]
    assert gpu_types(wish) == gpu_types(strict) == ("RTX 3090",)
    assert gpu_types(capped)[0] == "RTX 3090"
    assert "RTX 4090" in gpu_types(capped)
    assert gpu_types(OfferFilter()) == ()


def test_a_stand_in_that_tells_less_memory_than_its_type_has_is_none() -> None:
    want = OfferFilter(gpu_type="RTX 3090", allow_equivalents=True, max_price=CAP)
    assert not fits(an_offer(gpu_memory_gb=16.0), want)


def test_a_family_names_its_types() -> None:
    assert fits(an_offer(gpu_type="A100 SXM4"), OfferFilter(gpu_type="A100"))
    assert not fits(an_offer(gpu_type="RTX 3090 Ti"), OfferFilter(gpu_type="RTX 3090"))
    assert gpu_types(OfferFilter(gpu_type="A100")) == ("A100", "A100 PCIE", "A100 SXM4")
    assert gpu_name("RTX_6000Ada") == "RTX 6000Ada"
