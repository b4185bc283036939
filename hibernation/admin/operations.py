"""The console's operations: the steps with their times, what each waits for, and calling one off."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from hibernation.admin.shared import OrderingAdmin, ShowingAdmin
from hibernation.admin.words import NONE, at, badge, bar, goes_on, span, transfer
from hibernation.models import Operation
from hibernation.said import in_language
from hibernation.services.clock import db_now
from hibernation.services.visits import Visit, visits_of


def in_flight(operation: Operation) -> bool:
    return operation.finished_at is None


def may_be_cancelled(operation: Operation) -> bool:
    """As far as the row tells; the service decides."""
    return in_flight(operation) and not operation.cancel_reason and operation.point_of_no_return_at is None


@admin.register(Operation)
class OperationAdmin(ShowingAdmin, OrderingAdmin):
    list_display = ("id", "instance", "what", "doing", "began", "took")
    list_filter = ("kind", "state")
    search_fields = ("=instance__id",)
    search_help_text = "an instance's id"
    list_select_related = ("instance",)
    ordering = ("-id",)
    exclude = ("lease_token", "lease_until", "memo", "idempotency_key")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Operation]:
        rows: QuerySet[Operation] = super().get_queryset(request)
        return rows.annotate(seen_at=Now())

    @admin.display(description="operation", ordering="state")
    def what(self, row: Operation) -> str:
        return format_html("{} {}", in_language(row.kind), _badge(row))

    @admin.display(description="what goes on")
    def doing(self, row: Any) -> str:
        """What it does and how far it is, or why it ended badly."""
        if not in_flight(row):
            return in_language(row.error) or NONE
        return format_html("{} {}", goes_on(row, row.seen_at), bar(row.progress))

    @admin.display(description="began", ordering="created_at")
    def began(self, row: Operation) -> str:
        return at(row.started_at or row.created_at)

    @admin.display(description="took")
    def took(self, row: Any) -> str:
        return span((row.finished_at or row.seen_at) - (row.started_at or row.created_at))

    def shown(self, request: HttpRequest, operation: Operation) -> dict[str, Any]:
        now = db_now()
        orders = may_be_cancelled(operation) and self.has_operate_permission(request)
        cancel = reverse("admin:hibernation_instance_cancel", args=[operation.pk]) if orders else ""
        return {
            "title": in_language(f"{operation.kind} of {operation.instance_id}"),
            "operation": operation,
            "badge": _badge(operation),
            "doing": goes_on(operation, now),
            "bar": bar(operation.progress),
            "moved": transfer(operation.progress),
            "steps": steps_of(operation, now),
            "cancel": cancel,
            "refresh": 3 if in_flight(operation) else 0,
        }


def _badge(operation: Operation) -> str:
    return badge(operation.state, "busy" if operation.state == "running" else "")


def steps_of(operation: Operation, now: datetime) -> list[dict[str, Any]]:
    """Each visit of a step: when, how long, how often it looked and failed."""
    return [_step(row, now) for row in visits_of(operation)]


def _step(row: Visit, now: datetime) -> dict[str, Any]:
    return {
        "name": row.step,
        "began": row.entered_at,
        "took": span((row.finished_at or now) - row.entered_at),
        "open": row.finished_at is None,
        "waits": row.waits,
        "failures": row.failures,
    }
