"""The API for people and scripts. Views translate; services decide."""

from __future__ import annotations

import re
from typing import Any

from django.db.models import Count, QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import mixins, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from hibernation.api.serializers import (
    ConfigSerializer,
    EventSerializer,
    OperationSerializer,
    StatusSerializer,
    WakeSerializer,
    contract_number,
)
from hibernation.api.waiting import asked_to_wait, wait_for
from hibernation.domain.errors import NotFound
from hibernation.domain.states import InstanceStatus, OperationState
from hibernation.models import Instance, Operation
from hibernation.models.instance import INSTANCE_ID
from hibernation.services.instances import configure
from hibernation.services.requests import request_hibernate, request_wake

MAX_EVENTS = 500
_ROW = re.compile("[0-9]{1,18}")
WAIT = OpenApiParameter("wait", OpenApiTypes.FLOAT, description="Seconds to wait for the end, at most 300.")
KEY = OpenApiParameter("Idempotency-Key", OpenApiTypes.STR, OpenApiParameter.HEADER)


class NewestFirst(CursorPagination):
    ordering = "-pk"
    page_size = 50
    page_size_query_param = "limit"
    max_page_size = MAX_EVENTS

    def decode_cursor(self, request: Request) -> Any:
        """DRF hands the position in a forged cursor to the database as it is."""
        cursor = super().decode_cursor(request)
        position = None if cursor is None else cursor.position
        if position is not None and not _ROW.fullmatch(str(position)):
            raise ValidationError({"cursor": "This is not a cursor of ours."})
        return cursor


class InstanceViewSet(mixins.ListModelMixin, viewsets.GenericViewSet[Instance]):
    """Instances: what they do, their rules, their history, and the two things one can ask of them."""

    queryset = Instance.objects.select_related("snapshot").order_by("pk")
    serializer_class = StatusSerializer
    lookup_value_regex = INSTANCE_ID
    pagination_class = None

    def get_object(self) -> Instance:
        """404 with a clear sentence; reading needs no lock."""
        pk = self.kwargs["pk"]
        found = self.get_queryset().filter(pk=pk).first()
        if found is None:
            raise NotFound(f"There is no instance {pk!r}.")
        return found

    def retrieve(self, request: Request, pk: str) -> Response:
        return Response(StatusSerializer(self.get_object()).data)

    @action(detail=True, methods=["get"])
    def status(self, request: Request, pk: str) -> Response:
        return Response(StatusSerializer(self.get_object()).data)

    @extend_schema(request=ConfigSerializer, responses=ConfigSerializer)
    @action(detail=True, methods=["get", "put"], serializer_class=ConfigSerializer)
    def config(self, request: Request, pk: str) -> Response:
        instance = self.get_object()
        if request.method == "PUT":
            wish = ConfigSerializer(data=request.data)
            wish.is_valid(raise_exception=True)
            instance = configure(pk, wish.validated_data, actor=_actor(request))
        return Response({"instance_id": pk, **ConfigSerializer(instance).data})

    @extend_schema(request=None, parameters=[WAIT, KEY], responses={202: OperationSerializer})
    @action(detail=True, methods=["post"])
    def hibernate(self, request: Request, pk: str) -> Response:
        """Save the workspace, prove the copy, end the rental; whatever the GPU does."""
        seconds = asked_to_wait(request)
        operation = request_hibernate(
            pk, actor=_actor(request), reason="asked for by a person", idempotency_key=_key(request)
        )
        return _operation_reply(operation, seconds)

    @extend_schema(request=WakeSerializer, parameters=[WAIT, KEY], responses={202: OperationSerializer})
    @action(detail=True, methods=["post"], serializer_class=WakeSerializer)
    def wake(self, request: Request, pk: str) -> Response:
        """Bring the workspace back on another machine."""
        wish = WakeSerializer(data=request.data)
        wish.is_valid(raise_exception=True)
        seconds = asked_to_wait(request)
        params = {k: str(v) for k, v in wish.validated_data.items()}
        operation = request_wake(
            pk,
            actor=_actor(request),
            reason="asked for by a person",
            params=params,
            idempotency_key=_key(request),
        )
        return _operation_reply(operation, seconds)

    @extend_schema(parameters=[OpenApiParameter("limit", int)], responses=EventSerializer(many=True))
    @action(detail=True, methods=["get"], serializer_class=EventSerializer)
    def events(self, request: Request, pk: str) -> Response:
        """Newest first; ``next`` leads to older ones."""
        instance = self.get_object()
        limit = request.query_params.get("limit")
        if limit is not None and not (
            limit.isascii() and limit.isdigit() and 1 <= int(limit[:9]) <= MAX_EVENTS
        ):
            raise ValidationError({"limit": f"A whole number from 1 to {MAX_EVENTS}."})
        pages = NewestFirst()
        rows = pages.paginate_queryset(instance.events.all(), request, view=self)
        return Response({"events": EventSerializer(rows, many=True).data, "next": pages.get_next_link()})


class OperationViewSet(mixins.ListModelMixin, viewsets.GenericViewSet[Operation]):
    """Hibernations and wakes: their steps, progress and results, newest first."""

    serializer_class = OperationSerializer
    pagination_class = NewestFirst
    lookup_value_regex = "[0-9]{1,18}"

    def get_queryset(self) -> QuerySet[Operation]:
        return Operation.objects.all()

    def retrieve(self, request: Request, pk: str) -> Response:
        found = self.get_queryset().filter(pk=int(pk)).first()
        if found is None:
            raise NotFound(f"There is no operation {pk}.")
        return Response(OperationSerializer(found).data)


class StatsView(APIView):
    """How many instances are in which state; every key always present."""

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        counted = dict(Instance.objects.order_by().values_list("status").annotate(Count("pk")))
        by_status = {status.value: counted.get(status.value, 0) for status in InstanceStatus}
        return Response({"total_instances": sum(by_status.values()), **by_status})


def _actor(request: Request) -> str:
    return f"user:{request.user.get_username()}"


def _key(request: Request) -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is not None and not (1 <= len(key) <= 128 and key.isascii() and key.isprintable()):
        raise ValidationError({"Idempotency-Key": "1 to 128 printable characters."})
    return key


def _operation_reply(operation: Operation, seconds: float) -> Response:
    """202 with the operation; the guide's 200 when asked to wait and it succeeded meanwhile."""
    if seconds > 0:
        operation = wait_for(operation.pk, seconds)
    if operation.state == OperationState.SUCCEEDED:
        return Response(_guide_reply(operation))
    if operation.state in (OperationState.FAILED, OperationState.CANCELLED):
        error = {"code": operation.error_code, "message": operation.error}
        return Response({"success": False, "error": error, "operation": operation.pk}, status=409)
    location = {"Location": f"/api/operations/{operation.pk}"}
    return Response(OperationSerializer(operation).data, status=202, headers=location)


def _guide_reply(operation: Operation) -> dict[str, Any]:
    machine = operation.machine
    if operation.kind != "wake" or machine is None:
        return dict(operation.result)
    return {
        **operation.result,
        "instance_id": operation.instance_id,
        "vast_instance_id": contract_number(machine),
        "ssh_host": machine.ssh_host,
        "ssh_port": machine.ssh_port,
    }
