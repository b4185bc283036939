"""The console's machines, what each cost, and what is remembered of hosts."""

from __future__ import annotations

from decimal import Decimal
from urllib.parse import quote

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from django.utils.html import format_html

from hibernation.admin.shared import ReadOnlyAdmin
from hibernation.admin.words import NONE, at, badge, hourly, usd_an_hour
from hibernation.models import Host, Machine, UsageInterval
from hibernation.said import in_language

_PAGES = {
    "runpod": "https://console.runpod.io/pods?id={}",
    # Its console knows no address of a single rental.
    "vast": "https://cloud.vast.ai/instances/",
}


def provider_page(machine: Machine) -> str:
    """The address where its provider shows it; empty where there is none."""
    if machine.contract_id is None or machine.provider not in _PAGES:
        return ""
    return _PAGES[machine.provider].format(quote(machine.contract_id, safe=""))


@admin.register(Machine)
class MachineAdmin(ReadOnlyAdmin):
    list_display = ("label", "contract", "of", "standing", "hardware", "bills", "launched", "ends")
    list_filter = ("state", "phase", "provider")
    search_fields = ("label", "contract_id", "instance__id")
    list_select_related = ("instance",)
    ordering = ("-id",)
    readonly_fields = ("contract", "bills")

    @admin.display(description="rental", ordering="contract_id")
    def contract(self, row: Machine) -> str:
        address = provider_page(row)
        if not address:
            return row.contract_id or NONE
        shown = f"{row.provider} {row.contract_id}"
        return format_html('<a href="{}" rel="noreferrer" target="_blank">{}</a>', address, shown)

    @admin.display(description="instance", ordering="instance")
    def of(self, row: Machine) -> str:
        return row.instance_id or NONE

    @admin.display(description="state", ordering="state")
    def standing(self, row: Machine) -> str:
        return format_html("{}<small>{}</small>", badge(row.state), in_language(row.phase))

    @admin.display(description="GPU", ordering="gpu_type")
    def hardware(self, row: Machine) -> str:
        return " ".join(filter(None, (row.gpu_type, row.region))) or NONE

    @admin.display(description="bills now", ordering="price_per_hour")
    def bills(self, row: Machine) -> str:
        """And what was agreed, where that is another price."""
        price, agreed = hourly(row), row.price_per_hour
        told = usd_an_hour(price) if price > Decimal(0) else in_language("nothing")
        if price == agreed:
            return told
        return format_html("{}<small>{}</small>", told, in_language(f"agreed {usd_an_hour(agreed)}"))

    @admin.display(description="launched", ordering="launched_at")
    def launched(self, row: Machine) -> str:
        return at(row.launched_at) if row.launched_at else NONE

    @admin.display(description="ends", ordering="ends_at")
    def ends(self, row: Machine) -> str:
        """One that is kept warm, when that is over; else its rental's own end."""
        if row.parked_until is not None:
            return format_html("{}<small>{}</small>", at(row.parked_until), in_language("kept warm"))
        return at(row.ends_at) if row.ends_at else NONE


@admin.register(UsageInterval)
class UsageIntervalAdmin(ReadOnlyAdmin):
    list_display = ("machine", "instance", "price_per_hour", "started_at", "ended_at", "stopped")
    list_select_related = ("machine", "instance")
    ordering = ("-id",)


@admin.register(Host)
class HostAdmin(ReadOnlyAdmin):
    """What is remembered of hosts. Deleting one forgets it: it is an offer like any other again."""

    list_display = ("host", "provider", "operator", "verdict", "avoid_until", "failures", "download_mbps")
    list_filter = ("provider", "verdict")
    search_fields = ("host", "operator", "reason")

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return request.user.has_perm("hibernation.delete_host")
