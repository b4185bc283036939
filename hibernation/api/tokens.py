"""The API of one's own tokens: which there are, a new one, whose secret is told once, and revoking."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from hibernation.api.callers import caller_of
from hibernation.api.fields import WholeNumberField
from hibernation.api.filters import PAGING
from hibernation.api.paging import page_of
from hibernation.api.replies import actor_of
from hibernation.api.serializers import KnownFieldsSerializer
from hibernation.domain.access import SCOPES, Need, Scope
from hibernation.models import ApiToken
from hibernation.services.access import visible_tokens
from hibernation.services.own_tokens import create_own_token, revoke_own_token

LONGEST_DAYS = 3650


class TokenSerializer(serializers.ModelSerializer[ApiToken]):
    """``prefix``: how it begins. ``team``: the only one that it is good for; null: all of its user's.

    ``made_with``: the token that asked for it, with which it is revoked; null: none.
    """

    team = serializers.CharField(source="team.name", default=None, allow_null=True)

    class Meta:
        model = ApiToken
        fields = (
            "id",
            "name",
            "prefix",
            "scope",
            "team",
            "made_with",
            "created_at",
            "expires_at",
            "last_used_at",
            "revoked_at",
        )


class TokenWishSerializer(KnownFieldsSerializer):
    name = serializers.CharField(max_length=100, help_text="what will use it")
    scope = serializers.ChoiceField(SCOPES, help_text="the most it may do, whatever you may")
    team = serializers.CharField(
        required=False, allow_null=True, max_length=64, help_text="good for this one only; null: for all"
    )
    expires_in_days = WholeNumberField(
        required=False, allow_null=True, min_value=1, max_value=LONGEST_DAYS, help_text="null: never"
    )


class NewTokenSerializer(TokenSerializer):
    """``token``: the secret, told now and never again."""

    token = serializers.SerializerMethodField()

    class Meta(TokenSerializer.Meta):
        fields = (*TokenSerializer.Meta.fields, "token")  # type: ignore[assignment]

    def get_token(self, row: ApiToken) -> str:
        return str(self.context["secret"])


class TokensPageSerializer(serializers.Serializer[Any]):
    tokens = TokenSerializer(many=True)
    next = serializers.URLField(allow_null=True)


class TokensView(APIView):
    needs = {"GET": Need.READ, "POST": Need.OWN}
    wishes = {"POST": TokenWishSerializer}

    @extend_schema(
        operation_id="tokens_list",
        parameters=PAGING,
        responses=TokensPageSerializer,
    )
    def get(self, request: Request) -> Response:
        """Your own, newest first, also those that count no more; ``next`` leads to older ones."""
        rows, following = page_of(visible_tokens(caller_of(request)).select_related("team"), request, self)
        return Response({"tokens": TokenSerializer(rows, many=True).data, "next": following})

    @extend_schema(request=TokenWishSerializer, responses={201: NewTokenSerializer})
    def post(self, request: Request) -> Response:
        """A new one of yours. One that is made with a token may not do more, nor live longer, than that one."""
        wish = TokenWishSerializer(data=request.data)
        wish.is_valid(raise_exception=True)
        asked = wish.validated_data
        days = asked.get("expires_in_days")
        secret, row = create_own_token(
            caller_of(request),
            asked["name"],
            Scope(asked["scope"]),
            team=asked.get("team"),
            lifetime=timedelta(days=days) if days else None,
            actor=actor_of(request),
        )
        shown = NewTokenSerializer(row, context={"secret": secret}).data
        return Response(shown, status=201, headers={"Cache-Control": "no-store"})


class TokenView(APIView):
    needs = {"DELETE": Need.OWN}

    @extend_schema(request=None, responses={200: TokenSerializer})
    def delete(self, request: Request, token_id: str) -> Response:
        """Revoke one of yours and all that was made with it, but for the one you ask with. For ever; repeatable."""
        row = revoke_own_token(caller_of(request), int(token_id), actor=actor_of(request))
        return Response(TokenSerializer(row).data)
