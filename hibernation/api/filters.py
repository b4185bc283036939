"""What lists can be asked for: names in the query, their values, and the refusal of every other name."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, TypeVar

from django.db.models import Q, QuerySet
from django_filters import rest_framework as filters
from django_filters.utils import translate_validation
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.settings import api_settings

from hibernation.api.paging import MAX_ROWS
from hibernation.domain.states import (
    EventType,
    InstanceStatus,
    OperationKind,
    OperationState,
    SnapshotState,
)
from hibernation.models import Event, Instance, Operation, Snapshot

PAGING = [
    OpenApiParameter(
        "limit",
        {"type": "integer", "minimum": 1, "maximum": MAX_ROWS},
        description="Rows a page; 50 if not said.",
    ),
    OpenApiParameter("cursor", OpenApiTypes.STR, description="As in `next`; leads to the page after."),
]
_LONGEST_TEXT = 100
Rows = TypeVar("Rows", bound=QuerySet[Any])


class WordsFilter(filters.BaseInFilter, filters.ChoiceFilter):  # type: ignore[misc]
    """One of ``words``, or several with commas."""

    def __init__(self, words: type[StrEnum], more: str = "", **options: Any) -> None:
        self.words = sorted(word.value for word in words)
        said = {"invalid_choice": f"There is no «%(value)s». Known: {', '.join(self.words)}."}
        super().__init__(
            choices=[(word, word) for word in self.words],
            empty_label=None,
            error_messages=said,
            help_text=f"Several with commas.{more}",
            **options,
        )


class TextFilter(filters.CharFilter):  # type: ignore[misc]
    """A text of bounded length."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=_LONGEST_TEXT, **options)


class InstanceFilters(filters.FilterSet):  # type: ignore[misc]
    status = WordsFilter(InstanceStatus, " Without it: all but released ones.")
    provider = TextFilter(help_text="The provider's name, such as vast.")
    search = TextFilter(method="with_text", help_text="A part of the id or the name.")

    class Meta:
        model = Instance
        fields: Sequence[str] = ()

    def with_text(self, rows: QuerySet[Instance], name: str, text: str) -> QuerySet[Instance]:
        return rows.filter(Q(pk__icontains=text) | Q(name__icontains=text))

    def filter_queryset(self, rows: QuerySet[Instance]) -> QuerySet[Instance]:
        found: QuerySet[Instance] = super().filter_queryset(rows)
        asked = self.form.cleaned_data["status"]
        return found if asked else found.exclude(status=InstanceStatus.RELEASED)


class OperationFilters(filters.FilterSet):  # type: ignore[misc]
    instance = TextFilter(help_text="Its id.")
    kind = WordsFilter(OperationKind)
    state = WordsFilter(OperationState)

    class Meta:
        model = Operation
        fields: Sequence[str] = ()


class EventFilters(filters.FilterSet):  # type: ignore[misc]
    event_type = WordsFilter(EventType)

    class Meta:
        model = Event
        fields: Sequence[str] = ()


class SnapshotFilters(filters.FilterSet):  # type: ignore[misc]
    state = WordsFilter(SnapshotState, " Without it: all but deleted ones.")

    class Meta:
        model = Snapshot
        fields: Sequence[str] = ()

    def filter_queryset(self, rows: QuerySet[Snapshot]) -> QuerySet[Snapshot]:
        found: QuerySet[Snapshot] = super().filter_queryset(rows)
        asked = self.form.cleaned_data["state"]
        return found if asked else found.exclude(state=SnapshotState.DELETED)


def chosen(filterset: type[filters.FilterSet], rows: Rows, request: Request) -> Rows:
    """Those that the query asks for; ``ValidationError`` for a name or a value that makes no sense."""
    only_these(request, [*filterset.base_filters, *(parameter.name for parameter in PAGING)])
    wish = filterset(request.query_params, queryset=rows, request=request)
    if not wish.is_valid():
        raise translate_validation(wish.errors)
    found: Rows = wish.qs
    return found


def only_these(request: Request, known: Sequence[str]) -> None:
    """``ValidationError`` for any other name in the query."""
    unknown = sorted(set(request.query_params) - {*known, api_settings.URL_FORMAT_OVERRIDE})
    if unknown:
        raise ValidationError(dict.fromkeys(unknown, f"There is no such filter. Known: {', '.join(known)}."))


def described(filterset: type[filters.FilterSet]) -> list[OpenApiParameter]:
    """The filters and the pages of a list, for its description."""
    return [*(_parameter(name, one) for name, one in filterset.base_filters.items()), *PAGING]


def _parameter(name: str, one: filters.Filter) -> OpenApiParameter:
    text = one.extra.get("help_text", "")
    if not isinstance(one, WordsFilter):
        return OpenApiParameter(name, {"type": "string", "maxLength": _LONGEST_TEXT}, description=text)
    items = {"type": "array", "items": {"type": "string", "enum": one.words}}
    return OpenApiParameter(name, items, description=text, style="form", explode=False)
