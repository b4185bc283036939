"""The console's events: what happened, newest first."""

from __future__ import annotations

from typing import Any

from django.contrib import admin

from hibernation.admin.shared import ReadOnlyAdmin
from hibernation.models import Event
from hibernation.said import in_language


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    list_display = ("timestamp", "instance", "event", "why", "actor")
    list_filter = ("event_type",)
    search_fields = ("=instance__id", "=actor")
    search_help_text = "an instance's id, or user:NAME"
    list_select_related = ("instance",)
    ordering = ("-id",)
    exclude = ("reason",)
    readonly_fields = ("why",)

    @admin.display(description="event", ordering="event_type")
    def event(self, row: Any) -> str:
        return in_language(str(row.event_type).replace("_", " "))

    @admin.display(description="reason", ordering="reason")
    def why(self, row: Any) -> str:
        return in_language(row.reason)
