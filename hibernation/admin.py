"""The Django admin: everything can be looked at; orders go through the same services as everywhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.defaultfilters import filesizeformat
from django.template.response import TemplateResponse
from django.utils.html import format_html_join
from django.utils.safestring import mark_safe
from django_celery_beat.admin import PeriodicTaskAdmin
from django_celery_beat.models import PeriodicTask

from hibernation.domain.errors import DumontError
from hibernation.domain.states import SnapshotState
from hibernation.models import (
    Event,
    Host,
    Instance,
    Machine,
    Operation,
    ProviderAccount,
    Schedule,
    ScheduleRun,
    Snapshot,
    UsageInterval,
)
from hibernation.services.clock import db_now
from hibernation.services.requests import request_hibernate, request_snapshot, request_wake
from hibernation.services.retention import choice_for, delete_snapshot, keep_snapshot
from hibernation.services.schedules.mirroring import TASK as ENTRY_TASK
from hibernation.services.schedules.plans import next_of, preview_of
from hibernation.services.storage import with_storage


class ReadOnlyAdmin(admin.ModelAdmin[Any]):
    """Rows are written by services; the admin shows them."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class OrderingAdmin(ReadOnlyAdmin):
    """Whose actions are orders: each row is one order, and its answer is told."""

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Orders end and start rentals and delete copies: who may only look may not give them."""
        return request.user.has_perm("hibernation.change_instance")

    def order(self, request: HttpRequest, rows: QuerySet[Any], ask: Callable[[Any, str], str]) -> None:
        actor = f"user:{request.user.get_username()}"
        for row in rows:
            try:
                self.message_user(request, f"{row}: {ask(row, actor)}")
            except DumontError as error:
                self.message_user(request, f"{row}: {error}", messages.ERROR)


@admin.register(Instance)
class InstanceAdmin(OrderingAdmin):
    list_display = (
        "id",
        "status",
        "gpu_utilization",
        "gpu_type",
        "region",
        "storage",
        "last_heartbeat_at",
        "last_error",
    )
    list_filter = ("status", "provider")
    search_fields = ("id", "name")
    actions = ("hibernate", "wake", "save_now")
    fieldsets = (
        (None, {"fields": ("id", "name", "status", "status_changed_at", "created_at", "last_error")}),
        (
            "Machine",
            {
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
                )
            },
        ),
        (
            "Idle",
            {
                "fields": (
                    "auto_hibernation_enabled",
                    "gpu_usage_threshold",
                    "pause_after",
                    "delete_after",
                    "hibernate_busy_at_the_end",
                    "warm_minutes",
                    "gpu_utilization",
                    "last_heartbeat_at",
                    "last_activity_at",
                    "heartbeat_interval",
                    "idle_since",
                    "hold_until",
                    "awake_until",
                    "hibernate_due_at",
                    "delete_due_at",
                )
            },
        ),
        (
            "Saving",
            {
                "fields": (
                    "precopy_enabled",
                    "snapshot_interval",
                    "snapshot_due_at",
                    "transfer_limit_mbit",
                    "encryption_enabled",
                )
            },
        ),
        ("Left out", {"fields": ("default_ignore_rules", "ignore_rules", "leave_out_model_cache")}),
        ("Kept", {"fields": ("keep_last", "keep_daily", "snapshot", "storage")}),
    )
    readonly_fields = ("storage",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Instance]:
        return with_storage(super().get_queryset(request))

    @admin.display(description="stored", ordering="stored_bytes")
    def storage(self, instance: Any) -> str:
        return f"{filesizeformat(instance.stored_bytes)}, {instance.good_snapshots} snapshots"

    @admin.action(description="Hibernate: save, prove, end the rental", permissions=["operate"])
    def hibernate(self, request: HttpRequest, queryset: QuerySet[Instance]) -> None:
        self._ask(request, queryset, request_hibernate)

    @admin.action(description="Wake on another machine", permissions=["operate"])
    def wake(self, request: HttpRequest, queryset: QuerySet[Instance]) -> None:
        self._ask(request, queryset, request_wake)

    @admin.action(description="Save and prove now, and go on", permissions=["operate"])
    def save_now(self, request: HttpRequest, queryset: QuerySet[Instance]) -> None:
        self._ask(request, queryset, request_snapshot)

    def _ask(self, request: HttpRequest, queryset: QuerySet[Instance], ask: Callable[..., Operation]) -> None:
        def one(instance: Instance, actor: str) -> str:
            operation = ask(instance.pk, actor=actor, reason="asked for in the admin")
            return f"{operation.kind} {operation.state}"

        self.order(request, queryset, one)


@admin.register(Machine)
class MachineAdmin(ReadOnlyAdmin):
    list_display = (
        "label",
        "contract_id",
        "state",
        "phase",
        "gpu_type",
        "region",
        "price_per_hour",
        "price_now",
        "stopped_usd_hour",
        "launched_at",
        "parked_until",
        "ends_at",
    )
    list_filter = ("state", "phase", "provider")
    search_fields = ("label", "contract_id")


@admin.register(ProviderAccount)
class ProviderAccountAdmin(ReadOnlyAdmin):
    list_display = ("provider", "level", "credit", "credit_at", "burn_per_hour", "listed_at", "list_error")


@admin.register(Host)
class HostAdmin(ReadOnlyAdmin):
    """What is remembered of hosts. Deleting one forgets it: it is an offer like any other again."""

    list_display = ("host", "provider", "operator", "verdict", "avoid_until", "failures", "download_mbps")
    list_filter = ("provider", "verdict")
    search_fields = ("host", "operator", "reason")

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return request.user.has_perm("hibernation.delete_host")


@admin.register(Operation)
class OperationAdmin(ReadOnlyAdmin):
    list_display = (
        "id",
        "instance",
        "kind",
        "state",
        "step",
        "waiting_for",
        "started_at",
        "finished_at",
        "error",
    )
    list_filter = ("kind", "state")
    list_select_related = ("instance",)


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    list_display = ("timestamp", "instance", "event_type", "reason", "actor")
    list_filter = ("event_type",)
    list_select_related = ("instance",)


@admin.register(Snapshot)
class SnapshotAdmin(OrderingAdmin):
    list_display = (
        "name",
        "instance",
        "state",
        "kept",
        "files",
        "size",
        "stored_new",
        "created_at",
        "verified_at",
    )
    list_filter = ("state", "kept")
    search_fields = ("name", "instance__id")
    list_select_related = ("instance",)
    actions = ("keep", "let_go", "delete_snapshots")
    exclude = ("packs",)
    readonly_fields = ("retention",)

    @admin.display(description="size", ordering="bytes_logical")
    def size(self, row: Snapshot) -> str:
        return filesizeformat(row.bytes_logical)

    @admin.display(description="newly stored", ordering="bytes_stored_new")
    def stored_new(self, row: Snapshot) -> str:
        return filesizeformat(row.bytes_stored_new)

    @admin.display(description="by the rules")
    def retention(self, row: Snapshot) -> str:
        choice = choice_for(row.instance, db_now())
        if row.pk in choice.keep:
            return f"kept: {choice.keep[row.pk]}"
        return f"about to be deleted: {choice.delete[row.pk]}" if row.pk in choice.delete else "-"

    @admin.action(description="Keep, whatever the rules say", permissions=["operate"])
    def keep(self, request: HttpRequest, queryset: QuerySet[Snapshot]) -> None:
        self._set_kept(request, queryset, True)

    @admin.action(description="Leave to the rules again", permissions=["operate"])
    def let_go(self, request: HttpRequest, queryset: QuerySet[Snapshot]) -> None:
        self._set_kept(request, queryset, False)

    def _set_kept(self, request: HttpRequest, queryset: QuerySet[Snapshot], kept: bool) -> None:
        def one(row: Snapshot, actor: str) -> str:
            keep_snapshot(row.instance_id, row.name, kept, actor=actor)
            return "kept" if kept else "left to the rules"

        self.order(request, queryset.select_related("instance"), one)

    @admin.action(description="Delete (asks first; never the last good copy)", permissions=["operate"])
    def delete_snapshots(self, request: HttpRequest, queryset: QuerySet[Snapshot]) -> HttpResponse | None:
        rows = queryset.exclude(state=SnapshotState.DELETED).select_related("instance").order_by("pk")
        if "confirmed" not in request.POST:
            return self._ask_first(request, rows)

        def one(row: Snapshot, actor: str) -> str:
            delete_snapshot(row.instance_id, row.name, actor=actor)
            return "deleted"

        self.order(request, rows, one)
        return None

    def _ask_first(self, request: HttpRequest, rows: QuerySet[Snapshot]) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": "Delete these snapshots?",
            "rows": rows,
            "action": "delete_snapshots",
            "opts": self.model._meta,
        }
        return TemplateResponse(request, "hibernation/confirm_delete_snapshots.html", context)


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
        found = next_of(row)
        return "-" if found is None else f"{found.leg} {found.local:%a %Y-%m-%d %H:%M}"

    @admin.display(description="the next 14 days")
    def fortnight(self, row: Schedule) -> str:
        found = preview_of(row, 14)
        lines = [
            " ".join(filter(None, (f"{one.local_at:%a %Y-%m-%d %H:%M %Z}", one.leg, one.note, one.exception)))
            for one in found.rows
        ]
        if found.forecast is not None and found.forecast.cost is not None:
            lines.append(f"${found.forecast.cost} instead of ${found.forecast.always_on}")
        return format_html_join(mark_safe("<br>"), "{}", ((line,) for line in lines))


@admin.register(ScheduleRun)
class ScheduleRunAdmin(ReadOnlyAdmin):
    list_display = ("instance", "leg", "nominal", "timezone", "state", "reason", "attempts", "ask_at")
    list_filter = ("leg", "state")
    search_fields = ("instance__id",)
    list_select_related = ("instance",)
    ordering = ("-id",)


@admin.register(UsageInterval)
class UsageIntervalAdmin(ReadOnlyAdmin):
    list_display = ("machine", "instance", "price_per_hour", "started_at", "ended_at", "stopped")
    list_select_related = ("machine", "instance")


admin.site.unregister(PeriodicTask)


@admin.register(PeriodicTask)
class BeatEntryAdmin(PeriodicTaskAdmin):  # type: ignore[misc]
    """Entries that were made from a schedule are seen here and changed there."""

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return _is_its_own(obj) and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return _is_its_own(obj) and super().has_delete_permission(request, obj)


def _is_its_own(obj: Any) -> bool:
    return obj is None or obj.task != ENTRY_TASK
