"""The API for people and scripts. Views translate; services decide."""

from __future__ import annotations

from django.db.models import Count, QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import mixins, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from hibernation.api.paging import NewestFirst, page_of
from hibernation.api.replies import KEY, WAIT, actor_of, key_of, operation_reply
from hibernation.api.serializers import (
    ConfigSerializer,
    EventSerializer,
    OperationSerializer,
    StatusSerializer,
    StorageSerializer,
    WakeSerializer,
)
from hibernation.api.waiting import asked_to_wait
from hibernation.domain.errors import NotFound
from hibernation.domain.states import InstanceStatus
from hibernation.models import Instance, Operation
from hibernation.models.instance import INSTANCE_ID
from hibernation.services.instances import configure
from hibernation.services.requests import request_hibernate, request_wake
from hibernation.services.storage import storage_of_all, with_storage


class InstanceViewSet(mixins.ListModelMixin, viewsets.GenericViewSet[Instance]):
    """Instances: what they do, their rules, their history, and the two things one can ask of them."""

    queryset = with_storage(Instance.objects.select_related("snapshot")).order_by("pk")
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
            instance = configure(pk, wish.validated_data, actor=actor_of(request))
        return Response({"instance_id": pk, **ConfigSerializer(instance).data})

    @extend_schema(request=None, parameters=[WAIT, KEY], responses={202: OperationSerializer})
    @action(detail=True, methods=["post"])
    def hibernate(self, request: Request, pk: str) -> Response:
        """Save the workspace, prove the copy, end the rental; whatever the GPU does."""
        seconds = asked_to_wait(request)
        operation = request_hibernate(
            pk, actor=actor_of(request), reason="asked for by a person", idempotency_key=key_of(request)
        )
        return operation_reply(operation, seconds)

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
            actor=actor_of(request),
            reason="asked for by a person",
            params=params,
            idempotency_key=key_of(request),
        )
        return operation_reply(operation, seconds)

    @extend_schema(parameters=[OpenApiParameter("limit", int)], responses=EventSerializer(many=True))
    @action(detail=True, methods=["get"], serializer_class=EventSerializer)
    def events(self, request: Request, pk: str) -> Response:
        """Newest first; ``next`` leads to older ones."""
        instance = self.get_object()
        rows, following = page_of(instance.events.all(), request, self)
        return Response({"events": EventSerializer(rows, many=True).data, "next": following})


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
    """How many instances are in which state, and what they occupy in the store; every key always present."""

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        counted = dict(Instance.objects.order_by().values_list("status").annotate(Count("pk")))
        by_status = {status.value: counted.get(status.value, 0) for status in InstanceStatus}
        storage = StorageSerializer(storage_of_all()).data
        return Response({"total_instances": sum(by_status.values()), **by_status, "storage": storage})
