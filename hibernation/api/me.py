"""Who asks, with which token, and what that is good for."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from hibernation.api.callers import caller_of
from hibernation.api.tokens import TokenSerializer
from hibernation.domain.access import OF_SCOPE, ROLES, SCOPES, Need, Scope
from hibernation.services.access import memberships_of


class MyTeamSerializer(serializers.Serializer[Any]):
    """``may``: what is left of your role by the scope of your token."""

    id = serializers.IntegerField()
    name = serializers.CharField()
    role = serializers.ChoiceField(ROLES)
    may = serializers.ChoiceField(SCOPES)


class MeSerializer(serializers.Serializer[Any]):
    """``token``: null in a browser's session. ``scopes``: all that it allows. ``teams``: those that it is good for."""

    user = serializers.CharField()
    token = TokenSerializer(allow_null=True)
    scopes = serializers.ListField(child=serializers.ChoiceField(SCOPES))
    teams = MyTeamSerializer(many=True)


class MeView(APIView):
    needs = {"GET": Need.READ}

    @extend_schema(responses=MeSerializer)
    def get(self, request: Request) -> Response:
        """Whose token this is, until when it counts and for what. Changes nothing: a way to try a token."""
        caller = caller_of(request)
        told = {
            "user": caller.user.get_username(),
            "token": caller.token,
            "scopes": [scope.value for scope in Scope if OF_SCOPE[scope] <= caller.limit],
            "teams": [
                {
                    "id": row.team_id,
                    "name": row.team.name,
                    "role": row.role,
                    "may": caller.rights[row.team_id].name.lower(),
                }
                for row in memberships_of(caller)
            ],
        }
        return Response(MeSerializer(told).data)
