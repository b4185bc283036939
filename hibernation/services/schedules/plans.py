"""What schedules will do, for people to look at. Read-only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from hibernation.domain.timetable import Leg, Plan, Preview, load_zone, preview, to_ical, zone_keys
from hibernation.models import Instance, Schedule
from hibernation.services.schedules.clock import schedule_now
from hibernation.services.schedules.rows import timetable_of


@dataclass(frozen=True, slots=True)
class Next:
    """``local`` carries the zone's offset; ``starts_at`` is before ``at`` for a wake that has to be ready by then."""

    leg: Leg
    local: datetime
    at: datetime
    starts_at: datetime

    def in_words(self, timezone: str) -> str:
        verb = "wakes" if self.leg is Leg.WAKE else "sleeps"
        return f"{verb} on schedule on {self.local:%a %d %b at %H:%M} {timezone}"


def schedule_of(instance: Instance) -> Schedule | None:
    found: Schedule | None = getattr(instance, "schedule", None)
    return found


def next_of(row: Schedule) -> Next | None:
    """From the row alone; ``None`` also where its zone is no more."""
    if row.next_due_at is None or row.next_run_at is None or not _can_be_told(row):
        return None
    local = row.next_due_at.astimezone(load_zone(row.timezone))
    return Next(Leg(row.next_leg), local, row.next_due_at, row.next_run_at)


def shown_next(row: Schedule) -> dict[str, Any] | None:
    """As the API tells it."""
    found = next_of(row)
    if found is None:
        return None
    return {"leg": found.leg, "local": found.local.isoformat(), "utc": found.at, "starts_at": found.starts_at}


def preview_of(row: Schedule, days: int) -> Preview:
    """The next occurrences, and what the hours awake will cost at the price of the last machine."""
    return preview(timetable_of(row), schedule_now(), days, row.lead, _price_of(row.instance))


def calendar_of(rows: Iterable[Schedule]) -> bytes:
    """An iCalendar file of all that is due in the next weeks."""
    plans = [
        Plan(row.pk, row.instance.name or row.pk, timetable_of(row)) for row in rows if _can_be_told(row)
    ]
    return to_ical(plans, schedule_now())


def _can_be_told(row: Schedule) -> bool:
    """A new zone file may lack a zone that was known when the schedule was put."""
    return row.timezone in zone_keys()


def _price_of(instance: Instance) -> Decimal | None:
    last = instance.machines.order_by("-pk").values_list("price_now", "price_per_hour").first()
    return instance.max_price if last is None else last[0] or last[1]
