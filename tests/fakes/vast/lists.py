"""The paginated list of contracts: filters, order, cursor, columns."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from tests.fakes.vast.catalogue import Row
from tests.fakes.vast.contracts import REAL_COLUMNS
from tests.fakes.vast.replies import Refusal
from tests.fakes.vast.search import OPERATORS

MOST_ROWS = 25


def page_of(rows: list[Row], query: Mapping[str, str]) -> dict[str, Any]:
    """One page as the market answers it. ``Refusal`` 400 for columns that are none, and for a bad cursor."""
    filters = _decoded(query, "select_filters", {})
    order = _decoded(query, "order_by", [{"col": "id", "dir": "asc"}])
    found = [row for row in rows if _fits(row, filters)]
    columns = _sort(found, order)
    rest = _after(found, columns, query["after_token"]) if query.get("after_token") else found
    page = rest[: min(int(query.get("limit") or MOST_ROWS), MOST_ROWS)]
    more = len(page) < len(rest)
    return {
        "success": True,
        "instances_found": len(page),
        "total_instances": len(found),
        "label_counts": dict(Counter(row["label"] or "" for row in found)),
        "next_token": _token({col: page[-1][col] for col in columns}) if more else None,
        "instances": [_selected(row, _decoded(query, "select_cols", None)) for row in page],
    }


def _fits(row: Row, filters: Any) -> bool:
    if not isinstance(filters, dict):
        raise Refusal(400, "invalid_request", "select_filters must be an object")
    for column, conditions in filters.items():
        _check(column)
        for op, value in conditions.items():
            if op not in OPERATORS:
                raise Refusal(400, "invalid_request", f"{op} is not a valid operator")
            is_ordered = op in ("gt", "gte", "lt", "lte")
            if (is_ordered and row[column] is None) or not OPERATORS[op](row[column], value):
                return False
    return True


def _sort(rows: list[Row], order: Any) -> list[str]:
    """Sorts in place; returns the columns that name a place in the order, ``id`` always among them."""
    columns = []
    for key in order:
        _check(key["col"])
        columns.append(key["col"])
    if "id" not in columns:
        order = [*order, {"col": "id", "dir": "asc"}]
        columns.append("id")
    for key in reversed(order):
        column = key["col"]
        rows.sort(key=lambda row: (row[column] is None, row[column] or 0), reverse=key.get("dir") == "desc")
    return columns


def _after(rows: list[Row], columns: list[str], token: str) -> list[Row]:
    """What follows the row of the cursor; if it is gone by now, what follows its id."""
    try:
        values = json.loads(base64.b64decode(token, validate=True))["values"]
        last = int(values["id"])
    except (ValueError, KeyError, TypeError):
        raise Refusal(400, "invalid_token", "after_token is not valid") from None
    for number, row in enumerate(rows):
        if row["id"] == last:
            return rows[number + 1 :]
    return [row for row in rows if row["id"] > last]


def _token(values: dict[str, Any]) -> str:
    return base64.b64encode(json.dumps({"values": values}).encode()).decode()


def _selected(row: Row, columns: Any) -> Row:
    return row if not columns or columns == ["*"] else {name: row.get(name) for name in columns}


def _check(column: str) -> None:
    if column not in REAL_COLUMNS:
        raise Refusal(400, "invalid_request", f"{column} is not a valid search key")


def _decoded(query: Mapping[str, str], name: str, default: Any) -> Any:
    try:
        return json.loads(query[name]) if query.get(name) else default
    except ValueError:
        raise Refusal(400, "invalid_request", f"{name} is not JSON") from None
