"""How the fake market reads a search: filters with eight operators, order, the cap of 64 rows, prices for a disk.

As the real one, it takes numbers as strings, finds nothing by ``id`` and refuses what it does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from tests.fakes.vast.catalogue import Row, country_of, priced
from tests.fakes.vast.replies import Refusal

MOST_ROWS = 64
DEFAULT_DISK_GB = 8.0

_TYPES = ("on-demand", "ondemand", "bid", "interruptible", "reserved")
_CONTROL = {"order", "type", "limit", "allocated_storage", "disable_bundling"}
_ALIASES = {
    "cuda_vers": "cuda_max_good",
    "dph": "dph_total",
    "display_active": "gpu_display_active",
    "dlperf_usd": "dlperf_per_dphtotal",
    "flops_usd": "flops_per_dphtotal",
}
# Filters that no row shows under this name, and what they look at.
_VIRTUAL: dict[str, Callable[[Row], Any]] = {
    "verified": lambda row: row["verification"] == "verified",
    "datacenter": lambda row: row["hosting_type"] == 1,
    "geolocation": country_of,
    "driver_version": lambda row: row["driver_vers"],
    "id": lambda row: None,
}
OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda ours, theirs: ours == theirs,
    "neq": lambda ours, theirs: ours != theirs,
    "gt": lambda ours, theirs: ours > theirs,
    "gte": lambda ours, theirs: ours >= theirs,
    "lt": lambda ours, theirs: ours < theirs,
    "lte": lambda ours, theirs: ours <= theirs,
    "in": lambda ours, theirs: ours in theirs,
    "notin": lambda ours, theirs: ours not in theirs,
}


def search(rows: Iterable[Row], query: dict[str, Any]) -> list[Row]:
    """The rows that fit, priced and ordered. ``Refusal`` 400 for a field, operator or value that makes no sense."""
    disk = _number(query.get("allocated_storage", DEFAULT_DISK_GB), "allocated_storage")
    kind = query.get("type", "on-demand")
    if kind not in _TYPES:
        raise _bad(f"type {kind!r} is none of {', '.join(_TYPES)}")
    shown = [_as_listed(row, disk, kind) for row in rows]
    tests = _tests(query, shown[0] if shown else {})
    found = [row for row in shown if all(test(row) for test in tests)]
    _sort(found, query.get("order", [["score", "desc"]]))
    limit = int(_number(query.get("limit") or MOST_ROWS, "limit"))
    return found[: min(limit, MOST_ROWS)]


def _as_listed(row: Row, disk_gb: float, kind: str) -> Row:
    if kind in ("bid", "interruptible"):
        return {**priced(row, disk_gb, bid=row["min_bid"]), "is_bid": True}
    return priced(row, disk_gb)


def _tests(query: dict[str, Any], example: Row) -> list[Callable[[Row], bool]]:
    tests = []
    for name, conditions in query.items():
        if name in _CONTROL:
            continue
        field = _ALIASES.get(name, name)
        if field not in example and field not in _VIRTUAL and example:
            raise _bad(f"unknown field {name!r}")
        if not isinstance(conditions, dict):
            raise _bad(f"{name}: an object of operators is needed, not {conditions!r}")
        tests += [_test(field, op, value) for op, value in conditions.items()]
    return tests


def _test(field: str, op: str, value: Any) -> Callable[[Row], bool]:
    if op not in OPERATORS:
        raise _bad(f"{field}: unknown operator {op!r}")
    if (op in ("in", "notin")) != isinstance(value, list):
        raise _bad(f"{field}: {op} does not go with {value!r}")
    read: Callable[[Row], Any] = _VIRTUAL.get(field, lambda row: row.get(field))

    def fits(row: Row) -> bool:
        ours = read(row)
        if ours is None:
            return op in ("neq", "notin") or (op == "eq" and value is None and field != "id")
        many = value if isinstance(value, list) else [value]
        theirs = [_like(ours, each, field) for each in many]
        return OPERATORS[op](ours, theirs if isinstance(value, list) else theirs[0])

    return fits


def _like(ours: Any, theirs: Any, field: str) -> Any:
    """Theirs as the type of ours: the official client sends most numbers as strings."""
    if isinstance(ours, bool):
        return theirs if isinstance(theirs, bool) else str(theirs).lower() in ("true", "1")
    if isinstance(ours, int | float):
        return _number(theirs, field)
    return theirs


def _sort(rows: list[Row], order: Any) -> None:
    if not isinstance(order, list):
        raise _bad("order must be a list of [field, direction]")
    for pair in reversed(order):
        if not isinstance(pair, list | tuple) or len(pair) != 2 or pair[1] not in ("asc", "desc"):
            raise _bad(f"order: {pair!r} is not [field, direction]")
        _sort_by(rows, _ALIASES.get(pair[0], str(pair[0])), descending=pair[1] == "desc")


def _sort_by(rows: list[Row], field: str, *, descending: bool) -> None:
    """What is unknown comes last, whichever way."""
    if rows and field not in rows[0]:
        raise _bad(f"order: unknown field {field!r}")
    known = [row for row in rows if row[field] is not None]
    unknown = [row for row in rows if row[field] is None]
    rows[:] = sorted(known, key=lambda row: row[field], reverse=descending) + unknown


def _number(value: Any, field: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise _bad(f"{field}: {value!r} is not a number") from None


def _bad(msg: str) -> Refusal:
    return Refusal(400, "invalid_request", msg)
