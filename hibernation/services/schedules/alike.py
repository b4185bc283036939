"""Schedules that have the same times and whose instances stand alike: what is found out for one is true of all.

At nine thousands wake; each answer is worked out once for all that differ in nothing it rests on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from django.contrib.postgres.aggregates import ArrayAgg

from hibernation.domain.timetable import NO_LEAD
from hibernation.models import Schedule
from hibernation.services.schedules.judging import STANDING, Standing, standing, with_standing
from hibernation.services.schedules.leads import leads_of

_RELATED = "schedule__"
_OWN = ("instance", "next_run_at", "next_leg", "next_due_at", "changed_at")
"""No answer rests on these."""
_FIELDS = tuple(field.attname for field in Schedule._meta.concrete_fields if field.name not in _OWN)
_COLUMNS = tuple(dict.fromkeys([*(_RELATED + name for name in _FIELDS), *STANDING]))


@dataclass(frozen=True, slots=True)
class Alike:
    """``schedule`` is the first one's. ``lead``: how much earlier their wakes start from now on."""

    instance_ids: Sequence[str]
    schedule: Schedule
    standing: Standing
    lead: timedelta


def alike(instance_ids: Sequence[str], real_now: datetime) -> list[Alike]:
    """All of the instances, which have schedules, each in one of the groups. The caller holds their locks."""
    groups = with_standing(instance_ids).values(*_COLUMNS).annotate(instance_ids=ArrayAgg("pk", default=[]))
    found = list(groups.values_list(*_COLUMNS, "instance_ids", named=True))
    leads = leads_of(pk for row in found if row.schedule__ready_by for pk in row.instance_ids)
    return [
        Alike(pks, _schedule(row, pks[0]), standing(row, real_now), lead)
        for row in found
        for lead, pks in _by_lead(row.instance_ids, leads)
    ]


def _by_lead(pks: list[str], leads: dict[str, timedelta]) -> Iterator[tuple[timedelta, list[str]]]:
    def lead_of(pk: str) -> timedelta:
        return leads.get(pk, NO_LEAD)

    for lead, some in groupby(sorted(pks, key=lead_of), key=lead_of):
        yield lead, list(some)


def _schedule(row: Any, pk: str) -> Schedule:
    return Schedule(instance_id=pk, **{name: getattr(row, _RELATED + name) for name in _FIELDS})
