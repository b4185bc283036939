"""Fields of a provider's rows, read tolerantly: what makes no sense is missing. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

CENT_FRACTION = Decimal("0.000001")
HOURS_IN_MONTH = 720

Row = Mapping[str, Any]


def text_of(row: Row, key: str) -> str:
    value = row.get(key)
    return str(value).strip() if isinstance(value, (str, int)) and not isinstance(value, bool) else ""


def number_of(row: Row, key: str) -> float | None:
    return as_number(row.get(key))


def whole_of(row: Row, key: str) -> int:
    """Never below zero."""
    return int(max(0.0, number_of(row, key) or 0.0))


def money_of(row: Row, key: str) -> Decimal | None:
    """Never below zero: a price that we do not understand must not look like a bargain."""
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        amount = Decimal(str(value))
    except (InvalidOperation, ValueError):
        return None
    return amount if amount.is_finite() and 0 <= amount < 10**9 else None


def row_of(row: Row, key: str) -> Row:
    """The object inside; empty if there is none."""
    value = row.get(key)
    return value if isinstance(value, dict) else {}


def rows_of(row: Row, key: str) -> list[Row]:
    """The objects in the list inside; whatever else is there is left out."""
    value = row.get(key)
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def port_of(value: object) -> int:
    """0: none."""
    number = as_number(value)
    return int(number) if number is not None and 0 < number < 65_536 else 0


def as_number(value: object) -> float | None:
    """A finite number, also one written as text; else ``None``."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
