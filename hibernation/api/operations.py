"""The API of operations: what each did, what goes on, and calling one off."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_serializer
from rest_framework import serializers, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from hibernation.api.callers import caller_of
from hibernation.api.filters import OperationFilters, chosen, described
from hibernation.api.paging import page_of
from hibernation.api.replies import accepted, actor_of
from hibernation.api.serializers import OperationSerializer
from hibernation.domain.access import Need
from hibernation.domain.errors import NotFound
from hibernation.domain.states import OperationState
from hibernation.models import Operation
from hibernation.services.access import Caller, team_of_instance, visible_operations
from hibernation.services.cancelling import request_cancel


@extend_schema_serializer(many=False)
class OperationsSerializer(serializers.Serializer[Any]):
    """A page of operations, newest first, and the address of the next."""

    operations = OperationSerializer(many=True)
    next = serializers.CharField(allow_null=True)


class OperationViewSet(viewsets.GenericViewSet[Operation]):
    """Hibernations, wakes, snapshots and adoptions: their steps, progress and results."""

    queryset = Operation.objects.none()
    serializer_class = OperationSerializer
    needs = {"GET": Need.READ}
    pagination_class = None
    filterset_class = OperationFilters
    lookup_value_regex = "[0-9]{1,18}"

    def get_queryset(self) -> QuerySet[Operation]:
        return visible_operations(caller_of(self.request)).prefetch_related("steps")

    @extend_schema(parameters=described(OperationFilters), responses=OperationsSerializer)
    def list(self, request: Request) -> Response:
        """Operations, newest first; ``next`` leads to older ones."""
        rows, following = page_of(_chosen(self.get_queryset(), caller_of(request), request), request, self)
        return Response(OperationsSerializer({"operations": rows, "next": following}).data)

    def retrieve(self, request: Request, pk: str) -> Response:
        """One, with its steps, its progress and what it came to."""
        return Response(OperationSerializer(self._find(pk)).data)

    @extend_schema(
        request=None,
        responses={
            200: OpenApiResponse(OperationSerializer, description="It had only waited, and has ended."),
            202: OpenApiResponse(OperationSerializer, description="It turns back."),
        },
    )
    @action(detail=True, methods=["post"], needs={"POST": Need.OPERATE})
    def cancel(self, request: Request, pk: str) -> Response:
        """Call it off. 409 once it has ended, and for a hibernation that ends the machine already."""
        operation = request_cancel(int(pk), actor=actor_of(request))
        if operation.state == OperationState.RUNNING:
            return accepted(operation)
        return Response(OperationSerializer(operation).data)

    def _find(self, pk: str) -> Operation:
        found = self.get_queryset().filter(pk=int(pk)).first()
        if found is None:
            raise NotFound(f"There is no operation {pk}.")
        return found


def _chosen(operations: QuerySet[Operation], caller: Caller, request: Request) -> QuerySet[Operation]:
    """Those that the query asks for; an instance that does not exist is no empty list."""
    found = chosen(OperationFilters, operations, request)
    if instance := request.query_params.get("instance"):
        team_of_instance(caller, instance)
    return found
