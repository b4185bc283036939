"""The console's snapshots: what is saved, when that was proven, and keeping, proving and deleting it."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.dateparse import parse_datetime
from django.utils.html import format_html

from hibernation.admin.shared import ActingAdmin
from hibernation.admin.words import NOTHING, at, badge, size
from hibernation.domain.states import SnapshotState
from hibernation.models import Snapshot
from hibernation.said import in_language
from hibernation.services.asked_proofs import ask_proof
from hibernation.services.clock import db_now
from hibernation.services.retention import choice_for, delete_snapshot, keep_snapshot


@admin.register(Snapshot)
class SnapshotAdmin(ActingAdmin):
    list_display = ("name", "instance", "standing", "sizes", "made", "proven")
    list_filter = ("state", "kept")
    search_fields = ("name", "instance__id")
    list_select_related = ("instance",)
    ordering = ("-id",)
    actions = ("prove_again", "keep", "let_go", "delete_snapshots")
    exclude = ("packs",)
    readonly_fields = ("retention", "logical", "stored_new", "proven")

    @admin.display(description="state", ordering="state")
    def standing(self, row: Snapshot) -> str:
        damaged = row.damaged_at is not None and row.state == SnapshotState.VERIFIED
        shown = badge("damaged" if damaged else row.state)
        kept = in_language("kept on request") if row.kept else ""
        return format_html("{}<small>{}</small>", shown, kept)

    @admin.display(description="size", ordering="bytes_logical")
    def sizes(self, row: Snapshot) -> str:
        new = size(row.bytes_stored_new)
        return format_html("{}<small>{}</small>", size(row.bytes_logical), in_language(f"{new} new"))

    @admin.display(description="made", ordering="created_at")
    def made(self, row: Snapshot) -> str:
        return at(row.created_at)

    @admin.display(description="size")
    def logical(self, row: Snapshot) -> str:
        return size(row.bytes_logical)

    @admin.display(description="newly stored")
    def stored_new(self, row: Snapshot) -> str:
        return size(row.bytes_stored_new)

    @admin.display(description="proven", ordering="verified_at")
    def proven(self, row: Snapshot) -> str:
        if row.proof_asked_at is not None:
            return in_language("is being proven again")
        again = parse_datetime(str(row.report.get("verification", {}).get("at", "")))
        known = [moment for moment in (again, row.verified_at) if moment is not None]
        return at(max(known)) if row.verified_at and known else NOTHING

    @admin.display(description="by the rules")
    def retention(self, row: Snapshot) -> str:
        choice = choice_for(row.instance, db_now())
        if row.pk in choice.keep:
            return in_language(f"kept: {choice.keep[row.pk]}")
        if row.pk in choice.delete:
            return in_language(f"about to be deleted: {choice.delete[row.pk]}")
        return NOTHING

    @admin.action(description="Prove again: read it back from the store", permissions=["operate"])
    def prove_again(self, request: HttpRequest, queryset: QuerySet[Snapshot]) -> None:
        def one(row: Snapshot, actor: str) -> str:
            ask_proof(row.instance_id, row.name, actor=actor)
            return "is being proven again; an event tells when that is done"

        self.order(request, queryset, one)

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
        asked = self.ask_first(
            request,
            rows,
            _described,
            title="Delete these snapshots?",
            warning="What only these snapshots need is deleted from the store within days "
            "and cannot be brought back.",
            button="Delete",
        )
        if asked is not None:
            return asked

        def one(row: Snapshot, actor: str) -> str:
            delete_snapshot(row.instance_id, row.name, actor=actor)
            return "deleted"

        self.order(request, rows, one)
        return None


def _described(row: Snapshot) -> str:
    return f"{row.name} of {row.instance_id}, {row.state}, {row.files} files, {size(row.bytes_logical)}"
