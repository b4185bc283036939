"""The API for people and scripts. Views translate; services decide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from django.db.models import Count, QuerySet
from django.utils.translation import get_language
from drf_spectacular.utils import PolymorphicProxySerializer, extend_schema
from rest_framework import viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from hibernation.api.callers import caller_of
from hibernation.api.filters import EventFilters, InstanceFilters, chosen, described
from hibernation.api.paging import ByName, page_of
from hibernation.api.registering import (
    DELETE_SNAPSHOTS,
    LEAVE_MACHINE,
    AdoptSerializer,
    ChangeSerializer,
    CreateSerializer,
    InstancesSerializer,
)
from hibernation.api.replies import KEY, WAIT, actor_of, flag_of, key_of, operation_reply
from hibernation.api.serializers import (
    ConfigSerializer,
    EventSerializer,
    EventsSerializer,
    KeepAliveSerializer,
    OperationSerializer,
    StatusSerializer,
    StorageSerializer,
    WakeSerializer,
    with_what_goes_on,
)
from hibernation.api.shapes import SavedSerializer, StatsSerializer, WokenSerializer, ordered
from hibernation.api.waiting import asked_to_wait
from hibernation.domain.access import Need
from hibernation.domain.errors import no_instance
from hibernation.domain.states import InstanceStatus
from hibernation.models import Instance
from hibernation.models.instance import INSTANCE_ID
from hibernation.services.access import (
    find_instance,
    team_for_new,
    visible_instances,
    visible_machines,
    visible_packs,
    visible_snapshots,
)
from hibernation.services.accounts import AccountFacts, facts_of_all
from hibernation.services.adopt import request_adoption
from hibernation.services.instances import configure, create_instance, release_instance
from hibernation.services.keep_alive import end_keep_alive, keep_alive
from hibernation.services.requests import request_hibernate, request_wake
from hibernation.services.storage import storage_of_all, with_storage

_RULES = {"GET": Need.READ, "PUT": Need.OPERATE}
_ORDER = {"POST": Need.OPERATE}
_KEEP = {"POST": Need.OPERATE, "DELETE": Need.OPERATE}


class InstanceViewSet(viewsets.GenericViewSet[Instance]):
    """Instances: what they do, their rules, their history, and the two things one can ask of them."""

    queryset = Instance.objects.none()
    needs = {"GET": Need.READ, "POST": Need.ADMIN, "PATCH": Need.OPERATE, "DELETE": Need.ADMIN}
    serializer_class = StatusSerializer
    lookup_value_regex = INSTANCE_ID
    pagination_class = None
    filterset_class = InstanceFilters
    refusals = (404,)
    wishes: Mapping[str, Any] = {"POST": CreateSerializer, "PATCH": ChangeSerializer}

    def get_queryset(self) -> QuerySet[Instance]:
        visible = visible_instances(caller_of(self.request))
        return with_storage(with_what_goes_on(visible)).order_by("pk")

    def get_object(self) -> Instance:
        """404 with a clear sentence; reading needs no lock."""
        pk = self.kwargs["pk"]
        found = self.get_queryset().filter(pk=pk).first()
        if found is None:
            raise no_instance(pk)
        return found

    @extend_schema(parameters=described(InstanceFilters), responses=InstancesSerializer)
    def list(self, request: Request) -> Response:
        """Instances by id; ``next`` leads on."""
        found = chosen(InstanceFilters, self.get_queryset(), request)
        rows, following = page_of(found, request, self, ByName())
        return Response(InstancesSerializer({"instances": rows, "next": following}).data)

    @extend_schema(
        request=PolymorphicProxySerializer("NewInstance", [CreateSerializer, AdoptSerializer], None),
        parameters=[WAIT, KEY],
        responses=ordered(WokenSerializer, OperationSerializer),
    )
    def create(self, request: Request) -> Response:
        """Take an existing rental under care (``contract_id`` or ``instance_id``), or rent a fresh machine."""
        seconds, key, actor = asked_to_wait(request), key_of(request), actor_of(request)
        adopts = isinstance(request.data, dict) and not {"contract_id", "instance_id"}.isdisjoint(
            request.data
        )
        wish = AdoptSerializer(data=request.data) if adopts else CreateSerializer(data=request.data)
        wish.is_valid(raise_exception=True)
        asked = {k: v for k, v in wish.validated_data.items() if k != "may_be_destroyed"}
        asked["team"] = team_for_new(caller_of(request), asked.get("team"))
        order = request_adoption if adopts else create_instance
        return operation_reply(order(**asked, actor=actor, idempotency_key=key), seconds)

    def retrieve(self, request: Request, pk: str) -> Response:
        """The same as its status."""
        return Response(StatusSerializer(self.get_object()).data)

    @extend_schema(request=ChangeSerializer, responses=StatusSerializer)
    def partial_update(self, request: Request, pk: str) -> Response:
        """Change its name or its rules; only what is sent."""
        wish = ChangeSerializer(data=request.data)
        wish.is_valid(raise_exception=True)
        configure(pk, wish.validated_data, actor=actor_of(request))
        return Response(StatusSerializer(self.get_object()).data)

    @extend_schema(parameters=[LEAVE_MACHINE, DELETE_SNAPSHOTS], responses={200: StatusSerializer})
    def destroy(self, request: Request, pk: str) -> Response:
        """Let go of it: nobody looks after it any more. Its machine, if it has one, is never destroyed by this."""
        leave, delete = flag_of(request, "leave_machine"), flag_of(request, "delete_snapshots")
        release_instance(pk, actor=actor_of(request), leave_machine=leave, delete_snapshots=delete)
        return Response(StatusSerializer(self.get_object()).data)

    @action(detail=True, methods=["get"])
    def status(self, request: Request, pk: str) -> Response:
        """What it does, on which machine, and why it is (not) about to sleep."""
        return Response(StatusSerializer(self.get_object()).data)

    @extend_schema(request=ConfigSerializer, responses=ConfigSerializer)
    @action(
        detail=True,
        methods=["get", "put"],
        serializer_class=ConfigSerializer,
        needs=_RULES,
        wishes={"PUT": ConfigSerializer},
    )
    def config(self, request: Request, pk: str) -> Response:
        """Its rules. PUT changes those that are sent."""
        if request.method == "PUT":
            wish = ConfigSerializer(data=request.data)
            wish.is_valid(raise_exception=True)
            instance = configure(pk, wish.validated_data, actor=actor_of(request))
        else:
            instance = find_instance(caller_of(request), pk)
        return Response({"instance_id": pk, **ConfigSerializer(instance).data})

    @extend_schema(
        request=None, parameters=[WAIT, KEY], responses=ordered(SavedSerializer, OperationSerializer)
    )
    @action(detail=True, methods=["post"], needs=_ORDER, wishes={})
    def hibernate(self, request: Request, pk: str) -> Response:
        """Save the workspace, prove the copy, end the rental; whatever the GPU does."""
        seconds = asked_to_wait(request)
        operation = request_hibernate(
            pk, actor=actor_of(request), reason="asked for by a person", idempotency_key=key_of(request)
        )
        return operation_reply(operation, seconds)

    @extend_schema(
        request=WakeSerializer,
        parameters=[WAIT, KEY],
        responses=ordered(WokenSerializer, OperationSerializer),
    )
    @action(
        detail=True,
        methods=["post"],
        serializer_class=WakeSerializer,
        needs=_ORDER,
        wishes={"POST": WakeSerializer},
    )
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

    @extend_schema(request=KeepAliveSerializer, responses=StatusSerializer)
    @action(
        detail=True,
        methods=["post"],
        url_path="keep-alive",
        serializer_class=KeepAliveSerializer,
        needs=_KEEP,
        wishes={"POST": KeepAliveSerializer},
    )
    def keep_alive(self, request: Request, pk: str) -> Response:
        """It is in use, whatever its GPU does: for so many minutes neither idleness nor its schedule ends it."""
        wish = KeepAliveSerializer(data=request.data)
        wish.is_valid(raise_exception=True)
        keep_alive(pk, timedelta(minutes=wish.validated_data["minutes"]), actor=actor_of(request))
        return Response(StatusSerializer(self.get_object()).data)

    @extend_schema(request=None, responses={200: StatusSerializer})
    @keep_alive.mapping.delete
    def end_keep_alive(self, request: Request, pk: str) -> Response:
        """Idleness and its schedule count again. Repeatable."""
        end_keep_alive(pk, actor=actor_of(request))
        return Response(StatusSerializer(self.get_object()).data)

    @extend_schema(parameters=described(EventFilters), responses=EventsSerializer)
    @action(detail=True, methods=["get"], serializer_class=EventSerializer)
    def events(self, request: Request, pk: str) -> Response:
        """What happened, newest first; ``next`` leads to older ones. Asked again with the ``ETag``: 304 for no news."""
        instance = find_instance(caller_of(request), pk)
        rows, following = page_of(chosen(EventFilters, instance.events.all(), request), request, self)
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
    All are of the caller's teams, but for the credit, which all teams share.
    """

    needs = {"GET": Need.READ}

    @extend_schema(responses=StatsSerializer)
    def get(self, request: Request) -> Response:
        caller = caller_of(request)
        counted = dict(visible_instances(caller).order_by().values_list("status").annotate(Count("pk")))
        by_status = {status.value: counted.get(status.value, 0) for status in InstanceStatus}
        storage = StorageSerializer(storage_of_all(visible_packs(caller), visible_snapshots(caller))).data
        total = sum(by_status.values()) - by_status[InstanceStatus.RELEASED]
        accounts = facts_of_all(visible_machines(caller))
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
