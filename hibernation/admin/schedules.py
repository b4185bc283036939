"""The console's schedules: what they will do and what became of it. They are changed over the API."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import mark_safe
from django_celery_beat.admin import PeriodicTaskAdmin
from django_celery_beat.models import PeriodicTask

from hibernation.admin.shared import ReadOnlyAdmin
from hibernation.admin.words import NOTHING, badge
from hibernation.models import Schedule, ScheduleRun
from hibernation.said import in_language
from hibernation.services.schedules.mirroring import TASK as ENTRY_TASK
from hibernation.services.schedules.plans import next_of, preview_of


def next_in_words(row: Schedule) -> str:
    found = next_of(row)
    return NOTHING if found is None else _told(found.leg, f"{found.local:%a %Y-%m-%d %H:%M}")


def lines_of(row: Schedule, days: int) -> list[str]:
    """Each occurrence of the next days, then what they cost."""
    found = preview_of(row, days)
    lines = [
        _told(_both_clocks(one.local_at, one.due_at), one.leg, one.note, one.exception) for one in found.rows
    ]
    if found.forecast is not None and found.forecast.cost is not None:
        lines.append(in_language(f"${found.forecast.cost} instead of ${found.forecast.always_on}"))
    return lines


def _both_clocks(local: datetime, at: datetime) -> str:
    """``Mon 2026-03-02 09:00 -03 = 12:00 UTC``; with the day where it is another."""
    utc = at.astimezone(UTC)
    day = "" if utc.date() == local.date() else f"{utc:%a %Y-%m-%d} "
    return f"{local:%a %Y-%m-%d %H:%M %Z} = {day}{utc:%H:%M} UTC"


def _told(*parts: str) -> str:
    return " ".join(in_language(part) for part in parts if part)


@admin.register(Schedule)
class ScheduleAdmin(ReadOnlyAdmin):
    """Changed over the API, which checks it; here it is seen, with what it will do."""

    list_display = ("instance", "enabled", "wake_time", "sleep_time", "timezone", "following")
    list_filter = ("enabled", "timezone")
    search_fields = ("instance__id", "instance__name")
    list_select_related = ("instance",)
    readonly_fields = ("following", "fortnight")

    @admin.display(description="next", ordering="next_run_at")
    def following(self, row: Schedule) -> str:
        return next_in_words(row)

    @admin.display(description="the next 14 days")
    def fortnight(self, row: Schedule) -> str:
        return format_html_join(mark_safe("<br>"), "{}", ((line,) for line in lines_of(row, 14)))


@admin.register(ScheduleRun)
class ScheduleRunAdmin(ReadOnlyAdmin):
    list_display = ("instance", "leg", "nominal", "timezone", "standing", "why", "attempts", "ask_at")
    list_filter = ("leg", "state")
    search_fields = ("instance__id",)
    list_select_related = ("instance",)
    ordering = ("-id",)
    exclude = ("reason",)
    readonly_fields = ("why",)

    @admin.display(description="state", ordering="state")
    def standing(self, row: ScheduleRun) -> str:
        return badge(row.state)

    @admin.display(description="reason", ordering="reason")
    def why(self, row: ScheduleRun) -> str:
        return in_language(row.reason)


admin.site.unregister(PeriodicTask)


@admin.register(PeriodicTask)
class BeatEntryAdmin(PeriodicTaskAdmin):  # type: ignore[misc]
    """Entries that were made from a schedule are seen here and changed there.

    Without actions: the library's own ask for no permission, and would switch off our ticks or run any task.
    """

    actions = None
    # The library's own brings a script within the page, which our policy refuses, to put a crontab into words.
    change_form_template = "admin/change_form.html"

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return _is_its_own(obj) and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return _is_its_own(obj) and super().has_delete_permission(request, obj)


def _is_its_own(obj: Any) -> bool:
    return obj is None or obj.task != ENTRY_TASK
