"""The Django admin: everything can be looked at; orders go through the same services as everywhere else."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import Model, QuerySet
from django.http import HttpRequest

from hibernation.domain.errors import DumontError
from hibernation.models import Event, Instance, Machine, Operation, Snapshot, UsageInterval
from hibernation.services.requests import request_hibernate, request_wake


class ReadOnlyAdmin(admin.ModelAdmin[Any]):
    """Rows are written by services; the admin shows them."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@admin.register(Instance)
class InstanceAdmin(ReadOnlyAdmin):
    list_display = (
        "id",
        "status",
        "gpu_utilization",
        "gpu_type",
        "region",
        "last_heartbeat_at",
        "last_error",
    )
    list_filter = ("status", "provider")
    search_fields = ("id", "name")
    actions = ("hibernate", "wake")

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Orders end and start rentals: who may only look may not give them."""
        return request.user.has_perm("hibernation.change_instance")

    @admin.action(description="Hibernate: save, prove, end the rental", permissions=["operate"])
    def hibernate(self, request: HttpRequest, queryset: QuerySet[Instance]) -> None:
        self._order(request, queryset, request_hibernate)

    @admin.action(description="Wake on another machine", permissions=["operate"])
    def wake(self, request: HttpRequest, queryset: QuerySet[Instance]) -> None:
        self._order(request, queryset, request_wake)

    def _order(self, request: HttpRequest, queryset: QuerySet[Instance], ask: Any) -> None:
        for instance in queryset:
            try:
                operation = ask(
                    instance.pk, actor=f"user:{request.user.get_username()}", reason="asked for in the admin"
                )
            except DumontError as error:
                self.message_user(request, f"{instance.pk}: {error}", messages.ERROR)
            else:
                self.message_user(request, f"{instance.pk}: {operation.kind} {operation.state}")


@admin.register(Machine)
class MachineAdmin(ReadOnlyAdmin):
    list_display = ("label", "contract_id", "state", "gpu_type", "region", "price_per_hour", "launched_at")
    list_filter = ("state", "provider")
    search_fields = ("label", "contract_id")


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
class SnapshotAdmin(ReadOnlyAdmin):
    list_display = (
        "name",
        "state",
        "files",
        "bytes_logical",
        "bytes_stored_new",
        "created_at",
        "verified_at",
    )
    list_filter = ("state",)


@admin.register(UsageInterval)
class UsageIntervalAdmin(ReadOnlyAdmin):
    list_display = ("machine", "instance", "price_per_hour", "started_at", "ended_at")
    list_select_related = ("machine", "instance")
