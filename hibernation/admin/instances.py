"""The console's instances: how each stands at a glance, and on its own page why, and what can be ordered."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import quote
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html

from hibernation.admin.instance_orders import BUTTONS, InstanceOrders
from hibernation.admin.machines import provider_page
from hibernation.admin.operations import may_be_cancelled, steps_of
from hibernation.admin.schedules import lines_of
from hibernation.admin.shared import ShowingAdmin
from hibernation.admin.teams import MOVES, InstanceMoves
from hibernation.admin.words import (
    NONE,
    badge,
    bar,
    countdown,
    goes_on,
    heard,
    hourly,
    reading,
    size,
    transfer,
    usd_an_hour,
)
from hibernation.api.serializers import current_machine, explanation, running_of, with_what_goes_on
from hibernation.models import Instance, Operation
from hibernation.said import in_language
from hibernation.services.clock import db_now
from hibernation.services.schedules.plans import schedule_of
from hibernation.services.storage import with_storage

_EVENTS_SHOWN = 15
_WITH_WORK = 3
_AT_REST = 15
"""Seconds between two looks of an open page: while an operation runs, and otherwise."""


@admin.register(Instance)
class InstanceAdmin(ShowingAdmin, InstanceOrders, InstanceMoves):
    list_display = (
        "workspace",
        "team",
        "standing",
        "agent",
        "doing",
        "hardware",
        "storage",
    )
    list_filter = ("status", "provider", "team")
    search_fields = ("id", "name")
    ordering = ("id",)
    actions = ("hibernate", "wake", "save_now")
    fieldsets = (
        (
            "Machines",
            {
                "classes": ("collapse",),
                "fields": (
                    "provider",
                    "gpu_type",
                    "gpu_count",
                    "allow_equivalent_gpus",
                    "region",
                    "max_price",
                    "image",
                    "disk_gb",
                    "min_cuda",
                    "min_reliability",
                    "min_download_mbps",
                    "ports",
                    "env_names",
                    "onstart",
                    "post_wake_hook",
                ),
            },
        ),
        (
            "Idle",
            {
                "classes": ("collapse",),
                "fields": (
                    "auto_hibernation_enabled",
                    "gpu_usage_threshold",
                    "pause_after",
                    "delete_after",
                    "hibernate_busy_at_the_end",
                    "heartbeat_interval",
                    "last_heartbeat_at",
                    "last_activity_at",
                    "idle_since",
                    "hold_until",
                    "kept_alive_until",
                    "awake_until",
                    "hibernate_due_at",
                    "delete_due_at",
                ),
            },
        ),
        (
            "Saving",
            {
                "classes": ("collapse",),
                "fields": (
                    "precopy_enabled",
                    "snapshot_interval",
                    "snapshot_due_at",
                    "transfer_limit_mbit",
                    "encryption_enabled",
                    "default_ignore_rules",
                    "ignore_rules",
                    "leave_out_model_cache",
                    "keep_last",
                    "keep_daily",
                    "snapshot",
                    "storage",
                ),
            },
        ),
    )
    readonly_fields = ("storage",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Instance]:
        return with_storage(with_what_goes_on(super().get_queryset(request)))

    def get_urls(self) -> list[URLPattern]:
        site, verbs = self.admin_site.admin_view, "hibernation_instance"
        return [
            path("operation/<int:number>/cancel/", site(self.cancel_view), name=f"{verbs}_cancel"),
            path("<path:object_id>/settings/", site(self.settings_view), name=f"{verbs}_settings"),
            path("<path:object_id>/team/", site(self.move_view), name=f"{verbs}_team"),
            path("<path:object_id>/order/<slug:verb>/", site(self.order_view), name=f"{verbs}_order"),
            *super().get_urls(),
        ]

    @admin.display(description="instance", ordering="id")
    def workspace(self, row: Instance) -> str:
        return format_html("{}<small>{}</small>", row.name, row.pk) if row.name else row.pk

    @admin.display(description="status", ordering="status")
    def standing(self, row: Instance) -> str:
        return badge(row.status)

    @admin.display(description="last reading")
    def agent(self, row: Any) -> str:
        if current_machine(row) is None:
            return NONE
        return format_html("{}<small>{}</small>", reading(row), heard(row, row.seen_at))

    @admin.display(description="what goes on", ordering="hibernate_due_at")
    def doing(self, row: Any) -> str:
        """The operation, else when it is hibernated, else what is wrong."""
        operation = running_of(row)
        if operation is not None:
            return format_html("{} {}", goes_on(operation, row.seen_at), bar(operation.progress))
        if row.hibernate_due_at is not None:
            return in_language(f"hibernates {countdown(row, row.seen_at)}")
        return in_language(row.last_error) or NONE

    @admin.display(description="machine", ordering="gpu_type")
    def hardware(self, row: Instance) -> str:
        shown = current_machine(row) or row
        named, cost = " ".join(filter(None, (shown.gpu_type, shown.region))), _cost(row)
        if not named and not cost:
            return NONE
        return format_html("{}<small>{}</small>", named, usd_an_hour(cost) if cost else "")

    @admin.display(description="stored", ordering="stored_bytes")
    def storage(self, row: Any) -> str:
        if not row.stored_bytes and not row.good_snapshots:
            return NONE
        count = f"{row.good_snapshots} snapshot{'' if row.good_snapshots == 1 else 's'}"
        return format_html("{}<small>{}</small>", size(row.stored_bytes), in_language(count))

    def shown(self, request: HttpRequest, instance: Instance) -> dict[str, Any]:
        now, operation, machine = db_now(), running_of(instance), current_machine(instance)
        row = schedule_of(instance)
        may_order = self.has_operate_permission(request)
        return {
            "title": instance.name or instance.pk,
            "instance": instance,
            "badge": badge(instance.status),
            "why": in_language(explanation(instance)),
            "heard": heard(instance, now),
            "reading": reading(instance),
            "countdown": countdown(instance, now),
            "cost": usd_an_hour(_cost(instance) or None),
            "machine": machine,
            "machine_page": provider_page(machine) if machine else "",
            "stored": self.storage(instance),
            "goes_on": _operation_shown(operation, may_order) if operation else None,
            "waiting": instance.operations.filter(state="queued").first(),
            "buttons": _buttons(instance) if may_order else [],
            "has_operate": may_order,
            "may_move": request.user.has_perm(MOVES),
            "schedule": row,
            "occurrences": lines_of(row, 7) if row else [],
            "timeline": instance.events.order_by("-id")[:_EVENTS_SHOWN],
            "refresh": _WITH_WORK if operation else _AT_REST,
        }


def _cost(instance: Instance) -> Decimal:
    """USD an hour of all its machines together: a wake may try two."""
    return sum((hourly(machine) for machine in getattr(instance, "current_machines", [])), Decimal(0))


def _operation_shown(operation: Operation, may_order: bool) -> dict[str, Any]:
    now = db_now()
    cancel = may_order and may_be_cancelled(operation)
    return {
        "row": operation,
        "words": goes_on(operation, now),
        "bar": bar(operation.progress),
        "moved": transfer(operation.progress),
        "steps": steps_of(operation, now),
        "cancel": reverse("admin:hibernation_instance_cancel", args=[operation.pk]) if cancel else "",
    }


def _buttons(instance: Instance) -> list[dict[str, str]]:
    """Those that make sense as it stands; the services have the last word."""
    return [
        {
            "address": reverse("admin:hibernation_instance_order", args=[quote(instance.pk), button.verb]),
            "label": in_language(button.label),
            "verb": button.verb,
        }
        for button in BUTTONS
        if instance.status in button.when
    ]
