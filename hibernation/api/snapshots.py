"""The API of an instance's snapshots: what there is and why it is kept; to make, keep and delete one."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from hibernation.api.callers import caller_of
from hibernation.api.fields import SentenceField, StrictBooleanField
from hibernation.api.filters import SnapshotFilters, chosen, described
from hibernation.api.paging import page_of
from hibernation.api.replies import KEY, WAIT, actor_of, flag_of, key_of, operation_reply
from hibernation.api.serializers import KnownFieldsSerializer, OperationSerializer
from hibernation.api.shapes import SnapshotMadeSerializer, ordered
from hibernation.api.waiting import asked_to_wait
from hibernation.domain.access import Need
from hibernation.domain.errors import NotFound
from hibernation.domain.retention import Choice
from hibernation.domain.states import SnapshotState
from hibernation.models import Instance, Snapshot
from hibernation.said import in_language
from hibernation.services.access import find_instance
from hibernation.services.clock import db_now
from hibernation.services.requests import request_snapshot
from hibernation.services.retention import choice_for, delete_snapshot, keep_snapshot

LAST_COPY = OpenApiParameter(
    "last_copy", OpenApiTypes.BOOL, description="true: delete it even if it is the last good copy."
)


class SnapshotSerializer(serializers.ModelSerializer[Snapshot]):
    """One snapshot. Its context holds the ``instance`` and what the rules make of its snapshots, the ``choice``.

    ``retention``: why it stays, or why the rules are about to delete it; ``null`` once it is deleted.
    """

    left_out_bytes = serializers.SerializerMethodField()
    is_current = serializers.SerializerMethodField()
    state_reason = SentenceField()
    retention = serializers.SerializerMethodField()

    class Meta:
        model = Snapshot
        fields = (
            "name",
            "state",
            "state_reason",
            "created_at",
            "frozen_at",
            "verified_at",
            "damaged_at",
            "deleted_at",
            "files",
            "bytes_logical",
            "bytes_stored_new",
            "left_out_bytes",
            "kept",
            "is_current",
            "retention",
        )

    def get_left_out_bytes(self, row: Snapshot) -> int:
        return int(row.report.get("left_out_bytes", 0))

    def get_is_current(self, row: Snapshot) -> bool:
        instance: Instance = self.context["instance"]
        return row.pk == instance.snapshot_id and row.state != SnapshotState.DELETED

    def get_retention(self, row: Snapshot) -> dict[str, Any] | None:
        choice: Choice = self.context["choice"]
        if row.pk in choice.keep:
            return {"keep": True, "reason": in_language(choice.keep[row.pk])}
        if row.pk in choice.delete:
            return {"keep": False, "reason": in_language(choice.delete[row.pk])}
        return None


class SnapshotDetailSerializer(SnapshotSerializer):
    """With everything that the machine reported: what was left out, skipped, or changed while it was read."""

    class Meta(SnapshotSerializer.Meta):
        fields = (*SnapshotSerializer.Meta.fields, "report")  # type: ignore[assignment]


class SnapshotPageSerializer(serializers.Serializer[Any]):
    snapshots = SnapshotSerializer(many=True)
    next = serializers.URLField(allow_null=True)


class KeepSerializer(KnownFieldsSerializer):
    kept = StrictBooleanField(help_text="kept until somebody lets it go, whatever the rules say")


class SnapshotsView(APIView):
    needs = {"GET": Need.READ, "POST": Need.OPERATE}

    @extend_schema(
        operation_id="instances_snapshots_list",
        parameters=described(SnapshotFilters),
        responses=SnapshotPageSerializer,
    )
    def get(self, request: Request, instance_id: str) -> Response:
        """Newest first, without the deleted ones; ``next`` leads to older ones."""
        instance = find_instance(caller_of(request), instance_id)
        rows, following = page_of(chosen(SnapshotFilters, instance.snapshots.all(), request), request, self)
        shown = SnapshotSerializer(rows, many=True, context=_context(instance)).data
        return Response({"snapshots": shown, "next": following})

    @extend_schema(
        request=None, parameters=[WAIT, KEY], responses=ordered(SnapshotMadeSerializer, OperationSerializer)
    )
    def post(self, request: Request, instance_id: str) -> Response:
        """Save and prove the workspace now; the machine goes on."""
        seconds = asked_to_wait(request)
        operation = request_snapshot(
            instance_id,
            actor=actor_of(request),
            reason="asked for by a person",
            idempotency_key=key_of(request),
        )
        return operation_reply(operation, seconds)


class SnapshotView(APIView):
    needs = {"GET": Need.READ, "PATCH": Need.OPERATE, "DELETE": Need.ADMIN}
    wishes = {"PATCH": KeepSerializer}

    @extend_schema(responses=SnapshotDetailSerializer)
    def get(self, request: Request, instance_id: str, name: str) -> Response:
        """One snapshot, also a deleted one, with what the machine reported."""
        instance = find_instance(caller_of(request), instance_id)
        snapshot = instance.snapshots.filter(name=name).first()
        if snapshot is None:
            raise NotFound(f"{instance_id} has no snapshot {name!r}.")
        return _reply(instance, snapshot)

    @extend_schema(request=KeepSerializer, responses=SnapshotDetailSerializer)
    def patch(self, request: Request, instance_id: str, name: str) -> Response:
        """Keep it whatever the rules say, or let it go again."""
        wish = KeepSerializer(data=request.data)
        wish.is_valid(raise_exception=True)
        kept = wish.validated_data["kept"]
        snapshot = keep_snapshot(instance_id, name, kept, actor=actor_of(request))
        return _reply(find_instance(caller_of(request), instance_id), snapshot)

    @extend_schema(request=None, parameters=[LAST_COPY], responses={200: SnapshotDetailSerializer})
    def delete(self, request: Request, instance_id: str, name: str) -> Response:
        """Delete it. The last good copy only with ``last_copy=true``, and never while it is all there is of the
        workspace, unless the instance is ``deleted``: then it can never wake again."""
        last_copy = flag_of(request, "last_copy")
        snapshot = delete_snapshot(instance_id, name, actor=actor_of(request), last_copy=last_copy)
        return _reply(find_instance(caller_of(request), instance_id), snapshot)


def _context(instance: Instance) -> dict[str, Any]:
    return {"instance": instance, "choice": choice_for(instance, db_now())}


def _reply(instance: Instance, snapshot: Snapshot) -> Response:
    return Response(SnapshotDetailSerializer(snapshot, context=_context(instance)).data)
