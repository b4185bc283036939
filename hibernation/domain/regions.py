"""Where machines stand: countries, our regions, and a wish for either. Pure.

A marketplace knows countries and no regions, and tools that offer regions disagree about them, so the lists are ours.
"""

from __future__ import annotations

from functools import lru_cache

from hibernation.domain.errors import InvalidRequest

_EU_27 = "AT BE BG HR CY CZ DK EE FI FR DE GR HU IE IT LV LT LU MT NL PL PT RO SK SI ES SE"
_REST_OF_EEA = "IS LI NO"
_ASIA = "BD CN HK ID IN JP KH KR KZ LA LK MM MN MO MY NP PH PK SG TH TW UZ VN"
_LATIN_AMERICA = "AR BO BR CL CO CR DO EC GT HN MX NI PA PE PR PY SV UY VE"

REGIONS: dict[str, frozenset[str]] = {
    # Whose law protects data as the Union's does: the EEA, and the two that the Union holds to be adequate and near.
    "EU": frozenset(f"{_EU_27} {_REST_OF_EEA} CH GB".split()),
    "US": frozenset({"US", "CA"}),
    "ASIA": frozenset(_ASIA.split()),
    "OCEANIA": frozenset({"AU", "NZ"}),
    "LATAM": frozenset(_LATIN_AMERICA.split()),
}
"""ISO 3166 alpha-2 codes by region. ``US`` is North America without Mexico. No country is in two."""

OTHER = "OTHER"
"""The region of a country in no list, and of a machine that does not tell its country."""

_REGION_OF = {country: region for region, countries in REGIONS.items() for country in countries}


def region_of(country: str) -> str:
    """The region of an ISO 3166 alpha-2 code, in either case; ``OTHER`` if it is unknown or empty."""
    return _REGION_OF.get(country.upper(), OTHER)


def countries_of(region: str) -> frozenset[str]:
    """The countries of one region or, of a country's code, itself; empty for ``OTHER``, which has no list."""
    if region in REGIONS:
        return REGIONS[region]
    return frozenset({region}) if region != OTHER else frozenset()


@lru_cache(maxsize=256)
def wished_places(wish: str | None) -> tuple[str, ...]:
    """The places of a wish such as ``EU``, ``SE`` or ``EU,US``, most wanted first; empty means «anywhere».

    A place is a region or a country. There is no other fallback than the one written down: whoever says ``EU`` may
    have to keep data there. Every place may be had; the order is for whoever ranks.
    """
    return tuple(dict.fromkeys(place.strip().upper() for place in (wish or "").split(",") if place.strip()))


def countries_wished(wish: str | None) -> frozenset[str]:
    """Every country that a wish allows, for a marketplace's own filter; empty means that it cannot be narrowed."""
    places = wished_places(wish)
    return frozenset() if OTHER in places else frozenset().union(*map(countries_of, places))


def place_rank(wish: str | None, *, region: str, country: str = "") -> int | None:
    """How far down the wish a machine stands: 0 is the first choice; ``None``: not where it may be."""
    places = wished_places(wish)
    if not places:
        return 0
    here = {region.upper(), country.upper()} - {""}
    return next((rank for rank, place in enumerate(places) if place in here), None)


def check_wish(wish: str) -> None:
    """Raises ``InvalidRequest`` for a place that is neither a region of ours nor shaped like a country's code."""
    for place in wished_places(wish):
        if place not in REGIONS and place != OTHER and not (len(place) == 2 and place.isalpha()):
            known = ", ".join((*REGIONS, OTHER))
            raise InvalidRequest(f"{place!r} is neither a region ({known}) nor a country's two letters.")
