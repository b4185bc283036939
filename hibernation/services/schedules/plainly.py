"""Occurrences whose operation is nothing but new rows, which most are: begun many at a time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from hibernation.domain.errors import Conflict
from hibernation.domain.lifecycle import CHAINS
from hibernation.domain.states import OperationKind
from hibernation.domain.timetable import Answer, Leg, Row
from hibernation.models import Operation
from hibernation.services.accounts import refuse_rental
from hibernation.services.dispatch import enqueue_operation
from hibernation.services.schedules.judging import Question
from hibernation.services.schedules.starting_many import Start, start_many
from hibernation.services.schedules.telling import occurrence_in_words

Asked = tuple[Question, Row]


@dataclass(frozen=True, slots=True)
class Plain:
    """Operations that begin for the same reason: the number of each by its instance, of which ``question`` is one's."""

    question: Question
    row: Row
    numbers: Mapping[str, int]


def named(question: Question) -> str:
    return occurrence_in_words(question.leg, question.nominal, question.timezone)


def why(question: Question) -> str:
    """The reason of its operation."""
    return f"scheduled: {named(question)}"


def sort(asked: Sequence[Asked]) -> tuple[list[Asked], list[Asked]]:
    """Those that start with nothing but new rows, and all others."""
    rentable = {provider: _may_rent(provider) for provider in {q.standing.provider for q, _ in asked}}
    plain: list[Asked] = []
    other: list[Asked] = []
    for question, row in asked:
        may = question.leg is Leg.SLEEP or rentable[question.standing.provider]
        is_plain = row.answer is Answer.ACT and question.starts_plainly and may
        (plain if is_plain else other).append((question, row))
    return plain, other


def _may_rent(provider: str) -> bool:
    try:
        refuse_rental(provider)
    except Conflict:
        return False
    return True


def begin(many: Iterable[Plain], real_now: datetime) -> None:
    """Start the operations of these numbers. The caller holds the instances' locks."""
    ways: dict[tuple[OperationKind, bool], list[Start]] = {}
    for plain in many:
        question = plain.question
        kind = OperationKind.WAKE if question.leg is Leg.WAKE else OperationKind.HIBERNATE
        ways.setdefault((kind, question.forced), []).append(_start(question, plain.row, plain.numbers))
    for (kind, forced), starts in ways.items():
        start_many(kind, starts, real_now, forced=forced)


def send_first_steps(operation_ids: Sequence[int]) -> None:
    """To the broker, when their rows are committed."""
    rows = Operation.objects.filter(pk__in=operation_ids).order_by("pk")
    for pk, kind in rows.values_list("pk", "kind"):
        enqueue_operation(pk, OperationKind(kind), CHAINS[OperationKind(kind)][0])


def _start(question: Question, row: Row, numbers: Mapping[str, int]) -> Start:
    return Start(
        numbers,
        why(question),
        f"{named(question)}: {row.reason}",
        json.dumps({"leg": question.leg, "nominal": question.nominal, "timezone": question.timezone}),
    )
