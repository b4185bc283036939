"""Countries and regions: our own lists, and wishes for either."""

from __future__ import annotations

from itertools import combinations

import pytest

from hibernation.domain.errors import InvalidRequest
from hibernation.domain.regions import (
    REGIONS,
    check_wish,
    countries_of,
    countries_wished,
    place_rank,
    region_of,
    wished_places,
)


@pytest.mark.parametrize(
    ("country", "region"),
    [
        ("SE", "EU"),
        ("se", "EU"),
        ("IE", "EU"),
        ("NO", "EU"),
        ("CH", "EU"),
        ("GB", "EU"),
        ("US", "US"),
        ("CA", "US"),
        ("JP", "ASIA"),
        ("AU", "OCEANIA"),
        ("RU", "OTHER"),
        ("BY", "OTHER"),
        ("", "OTHER"),
        ("?", "OTHER"),
    ],
)
def test_a_country_has_one_region(country: str, region: str) -> None:
    assert region_of(country) == region


def test_regions_do_not_overlap_and_hold_iso_codes() -> None:
    assert all(not (REGIONS[a] & REGIONS[b]) for a, b in combinations(REGIONS, 2))
    codes = [code for countries in REGIONS.values() for code in countries]
    assert all(len(code) == 2 and code.isupper() for code in codes)
    assert len(REGIONS["EU"]) == 27 + 3 + 2


def test_the_countries_of_a_region_of_a_country_and_of_the_rest() -> None:
    assert countries_of("US") == {"US", "CA"}
    assert countries_of("SE") == {"SE"}
    assert countries_of("OTHER") == set()


def test_a_wish_is_an_order_of_places() -> None:
    assert wished_places(" eu, se ,EU,US") == ("EU", "SE", "US")
    assert wished_places(None) == wished_places("") == ()


def test_the_countries_of_a_wish_are_those_of_all_its_places() -> None:
    assert countries_wished("US,SE") == {"US", "CA", "SE"}
    assert countries_wished(None) == set()
    assert countries_wished("EU,OTHER") == set()


@pytest.mark.parametrize(
    ("wish", "region", "country", "rank"),
    [
        (None, "EU", "SE", 0),
        ("EU,US", "EU", "SE", 0),
        ("EU,US", "US", "US", 1),
        ("SE,EU", "EU", "DE", 1),
        ("SE", "EU", "DE", None),
        ("US", "EU", "", None),
        ("PT", "PT", "", 0),
    ],
)
def test_a_machine_stands_as_far_down_as_the_first_place_that_has_it(
    wish: str | None, region: str, country: str, rank: int | None
) -> None:
    assert place_rank(wish, region=region, country=country) == rank


def test_a_place_that_does_not_exist_is_refused() -> None:
    check_wish("EU,us,SE,OTHER")
    with pytest.raises(InvalidRequest, match="EUROPE"):
        check_wish("EU,Europe")
