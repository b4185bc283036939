"""The API for people and scripts. Views translate; services decide."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.db.models import Count
from django.utils.translation import get_language
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, PolymorphicProxySerializer, extend_schema
from rest_framework import viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from hibernation.api.paging import ByName, page_of
from hibernation.api.registering import (
    DELETE_SNAPSHOTS,
    FILTERS,
    LEAVE_MACHINE,
    AdoptSerializer,
    ChangeSerializer,
    CreateSerializer,
    InstancesSerializer,
    chosen,
)
from hibernation.api.replies import KEY, WAIT, actor_of, flag_of, key_of, operation_reply
from hibernation.api.serializers import (
    ConfigSerializer,
    EventSerializer,
    OperationSerializer,
    StatusSerializer,
    StorageSerializer,
    WakeSerializer,
    with_what_goes_on,
)
from hibernation.api.waiting import asked_to_wait
from hibernation.domain.errors import NotFound
from hibernation.domain.states import InstanceStatus
from hibernation.models import Instance
from hibernation.models.instance import INSTANCE_ID
from hibernation.services.accounts import AccountFacts, facts_of_all
from hibernation.services.adopt import request_adoption
from hibernation.services.instances import configure, create_instance, release_instance
from hibernation.services.requests import request_hibernate, request_wake
from hibernation.services.storage import storage_of_all, with_storage


class InstanceViewSet(viewsets.GenericViewSet[Instance]):
    """Instances: what they do, their rules, their history, and the two things one can ask of them."""

    queryset = with_storage(with_what_goes_on(Instance.objects.all())).order_by("pk")
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

    @extend_schema(parameters=FILTERS, responses=InstancesSerializer)
    def list(self, request: Request) -> Response:
        """By id; ``next`` leads on."""
        rows, following = page_of(chosen(self.get_queryset(), request), request, self, ByName())
        return Response(InstancesSerializer({"instances": rows, "next": following}).data)

    @extend_schema(
        request=PolymorphicProxySerializer("NewInstance", [CreateSerializer, AdoptSerializer], None),
        parameters=[WAIT, KEY],
        responses={202: OperationSerializer},
    )
    def create(self, request: Request) -> Response:
        """Take an existing rental under care (``contract_id`` or ``instance_id``), or rent a fresh machine."""
        seconds, key, actor = asked_to_wait(request), key_of(request), actor_of(request)
        adopts = isinstance(request.data, dict) and not {"contract_id", "instance_id"}.isdisjoint(
            request.data
        )
        wish = AdoptSerializer(data=request.data) if adopts else CreateSerializer(data=request.data)
        wish.is_valid(raise_exception=True)
        if adopts:
            asked = {k: v for k, v in wish.validated_data.items() if k != "may_be_destroyed"}
            return operation_reply(request_adoption(**asked, actor=actor, idempotency_key=key), seconds)
        return operation_reply(
            create_instance(**wish.validated_data, actor=actor, idempotency_key=key), seconds
        )

    def retrieve(self, request: Request, pk: str) -> Response:
        return Response(StatusSerializer(self.get_object()).data)

    @extend_schema(request=ChangeSerializer, responses=StatusSerializer)
    def partial_update(self, request: Request, pk: str) -> Response:
        """Change its name or its rules; only what is sent."""
        self.get_object()
        wish = ChangeSerializer(data=request.data)
        wish.is_valid(raise_exception=True)
        configure(pk, wish.validated_data, actor=actor_of(request))
        return Response(StatusSerializer(self.get_object()).data)

    @extend_schema(parameters=[LEAVE_MACHINE, DELETE_SNAPSHOTS], responses=StatusSerializer)
    def destroy(self, request: Request, pk: str) -> Response:
        """Let go of it: nobody looks after it any more. Its machine, if it has one, is never destroyed by this."""
        leave, delete = flag_of(request, "leave_machine"), flag_of(request, "delete_snapshots")
        release_instance(pk, actor=actor_of(request), leave_machine=leave, delete_snapshots=delete)
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
        """Newest first; ``next`` leads to older ones. Whoever asks again with the ``ETag`` gets 304 for no news."""
        instance = self.get_object()
        rows, following = page_of(instance.events.all(), request, self)
        # Events never change: the first, the last and whether there are more tell the whole page of a language.
        tag = f'"{rows[0].pk}-{rows[-1].pk}-{bool(following):d}-{get_language()}"' if rows else '"none"'
        if request.headers.get("If-None-Match") == tag:
            return Response(status=304, headers={"ETag": tag})
        shown = {"events": EventSerializer(rows, many=True).data, "next": following}
        return Response(shown, headers={"ETag": tag})


class StatsView(APIView):
    """How many instances are in which state, and what they occupy in the store; every key always present.

    ``total_instances``: those that are looked after, that is without ``released``. ``billing_now_usd_per_hour``: what
    is rented for them. ``credit_usd`` of all providers together and ``credit_hours_left`` of the one that runs out
    first, with all that bills there; null where it is unknown. ``providers``: the same of each, and its list's age.
    """

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        counted = dict(Instance.objects.order_by().values_list("status").annotate(Count("pk")))
        by_status = {status.value: counted.get(status.value, 0) for status in InstanceStatus}
        storage = StorageSerializer(storage_of_all()).data
        total = sum(by_status.values()) - by_status[InstanceStatus.RELEASED]
        accounts = facts_of_all()
        known = [one.credit_usd for one in accounts if one.credit_usd is not None]
        hours = [one.credit_hours_left for one in accounts if one.credit_hours_left is not None]
        return Response(
            {
                "total_instances": total,
                **by_status,
                "storage": storage,
                "billing_now_usd_per_hour": round(sum(one.billing_now_usd_per_hour for one in accounts), 4),
                "credit_usd": round(sum(known), 2) if known else None,
                "credit_hours_left": min(hours, default=None),
                "providers": {one.provider: _without_name(one) for one in accounts},
            }
        )


def _without_name(account: AccountFacts) -> dict[str, Any]:
    return {name: value for name, value in asdict(account).items() if name != "provider"}
