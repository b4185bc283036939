"""Pages of rows, newest first or by name, and what in a request for them makes no sense."""

from __future__ import annotations

import re
from typing import Any

from django.db.models import QuerySet
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.views import APIView

from hibernation.models.instance import INSTANCE_ID

MAX_ROWS = 500
_FORGED = "This is not a cursor of ours."


class NewestFirst(CursorPagination):
    ordering = "-pk"
    page_size = 50
    page_size_query_param = "limit"
    max_page_size = MAX_ROWS
    key = re.compile("[0-9]{1,18}")

    def decode_cursor(self, request: Request) -> Any:
        """DRF hands the position in a forged cursor to the database as it is."""
        try:
            cursor = super().decode_cursor(request)
        except NotFound:
            raise ValidationError({"cursor": _FORGED}) from None
        position = None if cursor is None else cursor.position
        if position is not None and not self.key.fullmatch(str(position)):
            raise ValidationError({"cursor": _FORGED})
        return cursor


class ByName(NewestFirst):
    """Rows whose key is a name of ours, in its order."""

    ordering = "pk"
    key = re.compile(INSTANCE_ID)


def page_of(
    rows: QuerySet[Any], request: Request, view: APIView, pages: NewestFirst | None = None
) -> tuple[list[Any], str | None]:
    """One page of ``rows`` and the address of the next. A ``limit`` that makes no sense is refused, not corrected."""
    limit = request.query_params.get("limit")
    if limit is not None and not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:9]) <= MAX_ROWS):
        raise ValidationError({"limit": f"A whole number from 1 to {MAX_ROWS}."})
    pages = pages or NewestFirst()
    found = pages.paginate_queryset(rows, request, view=view) or []
    return list(found), pages.get_next_link()
