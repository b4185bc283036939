"""Machines that ask to be adopted: a one-time token for people, the script and the claim for the machine."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from drf_spectacular.utils import extend_schema
from msgspec import Meta, Struct
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from hibernation.api.authentication import bearer
from hibernation.api.callers import caller_of
from hibernation.api.errors import error_response, only, plain_error
from hibernation.api.permissions import needs
from hibernation.api.registering import ConsentField, TeamField, first_provider
from hibernation.api.replies import actor_of
from hibernation.api.serializers import KnownFieldsSerializer
from hibernation.box.enrol import enrol_script
from hibernation.domain.access import Need
from hibernation.domain.errors import DumontError
from hibernation.services.access import team_for_new
from hibernation.services.adopt import claim_enrolment, issue_enrolment
from hibernation.services.steps.rentals import our_public_key


class EnrolmentWishSerializer(KnownFieldsSerializer):
    """Of which provider's account the machine will be."""

    provider = serializers.CharField(default=first_provider, max_length=32)
    team = TeamField()
    may_be_destroyed = ConsentField(help_text="true: hibernating may end this rental")


class EnrolmentSerializer(serializers.Serializer[Any]):
    """``command``: to be run on the machine, once, before ``expires_at``. It is shown now and never again."""

    command = serializers.CharField()
    token = serializers.CharField()
    provider = serializers.CharField()
    expires_at = serializers.DateTimeField()


class EnrolmentsView(APIView):
    needs = {"POST": Need.ADMIN}
    wishes = {"POST": EnrolmentWishSerializer}

    @extend_schema(request=EnrolmentWishSerializer, responses={201: EnrolmentSerializer})
    def post(self, request: Request) -> Response:
        """One line for a rented machine, which has it adopted. It must be of this installation's own account."""
        wish = EnrolmentWishSerializer(data=request.data)
        wish.is_valid(raise_exception=True)
        caller = caller_of(request)
        team = team_for_new(caller, wish.validated_data.get("team"))
        provider = wish.validated_data["provider"]
        token, row = issue_enrolment(provider, actor=actor_of(request), team=team, caller=caller)
        command = f"curl -fsS {settings.DUMONT_BASE_URL}/api/enrol.sh | sh -s -- {token}"
        told = {"command": command, "token": token, "provider": row.provider, "expires_at": row.expires_at}
        return Response(EnrolmentSerializer(told).data, status=201)


class Claim(Struct, frozen=True):
    contract_id: Annotated[str, Meta(pattern="^[A-Za-z0-9]{1,64}$")]


@needs(POST=Need.PUBLIC)
@csrf_exempt
@only("POST")
def claim(request: HttpRequest) -> JsonResponse:
    """A machine shows its token and says which rental it is."""
    token = bearer(request)
    if token is None:
        return plain_error(401, "not_authenticated", "Send the enrolment's token as a bearer token.")
    try:
        operation = claim_enrolment(token, msgspec.json.decode(request.body, type=Claim).contract_id)
    except (msgspec.DecodeError, RecursionError) as error:
        return plain_error(400, "invalid", f"This is not a claim: {error}")
    except DumontError as error:
        return error_response(error)
    return JsonResponse({"instance_id": operation.instance_id, "operation": operation.pk}, status=202)


@needs(GET=Need.PUBLIC)
@csrf_exempt
@only("GET", "HEAD")
def script(request: HttpRequest) -> HttpResponse:
    """The same for everybody, and without a secret: the token is its argument."""
    text = enrol_script(settings.DUMONT_BASE_URL, our_public_key())
    return HttpResponse(text, content_type="text/x-shellscript; charset=utf-8")
