"""Who asks, and with which token."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from hibernation.domain.access import Need
from hibernation.models import ApiToken


class TokenSerializer(serializers.ModelSerializer[ApiToken]):
    class Meta:
        model = ApiToken
        fields = ("name", "created_at", "expires_at")


class MeSerializer(serializers.Serializer[Any]):
    """``token``: null in a browser's session."""

    user = serializers.CharField()
    token = TokenSerializer(allow_null=True)


class MeView(APIView):
    needs = {"GET": Need.READ}

    @extend_schema(responses=MeSerializer)
    def get(self, request: Request) -> Response:
        """Whose token this is, and until when it counts. Changes nothing: a way to try a token."""
        token = request.auth if isinstance(request.auth, ApiToken) else None
        return Response(MeSerializer({"user": request.user.get_username(), "token": token}).data)
