"""Time zones as the pinned ``tzdata`` package knows them, so that every installation agrees on every occurrence.

The operating system's own copy is passed over: it may be years old, and is missing on slim images.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from zoneinfo import ZoneInfo


@cache
def zone_keys() -> frozenset[str]:
    """Every IANA name, old aliases included."""
    return frozenset((files("tzdata") / "zones").read_text().split())


@cache
def load_zone(key: str) -> ZoneInfo:
    """The zone of that IANA name; ``ValueError`` where there is none."""
    if key not in zone_keys():
        raise ValueError(f"there is no time zone {key!r}")
    with files("tzdata").joinpath("zoneinfo", *key.split("/")).open("rb") as data:
        return ZoneInfo.from_file(data, key)
