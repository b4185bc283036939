"""Where the API begins: the addresses of what there is."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse
from rest_framework.views import APIView

from hibernation.domain.access import Need

# What is listed, and the name of its address.
LISTED = {
    "instances": "instance-list",
    "operations": "operation-list",
    "offers": "offers",
    "stats": "stats",
    "calendar": "schedules-calendar",
    "me": "me",
    "tokens": "tokens",
    "enrolments": "enrolments",
    "docs": "docs",
    "schema": "schema",
    "console": "admin:index",
}


class RootView(APIView):
    """Dumont's API. Log in to use it from these pages, or send a token: `Authorization: Bearer …`."""

    needs = {"GET": Need.PUBLIC}

    @extend_schema(
        operation_id="root", responses={200: {"type": "object", "additionalProperties": {"type": "string"}}}
    )
    def get(self, request: Request) -> Response:
        """The addresses of what there is."""
        return Response({name: reverse(view, request=request) for name, view in LISTED.items()})

    def get_view_name(self) -> str:
        return "Dumont"
