"""Who is asking: people and scripts by bearer token, agents by their rental's token."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from hibernation.logs.context import tell
from hibernation.models import ApiToken
from hibernation.services.tokens import AgentToken, find_api_token, read_agent_token


def bearer(request: HttpRequest | Request) -> str | None:
    scheme, _, value = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else None


def agent_token(request: HttpRequest) -> AgentToken | None:
    raw = bearer(request)
    token = read_agent_token(raw) if raw is not None else None
    if token is not None:
        tell(agent_of=token.machine_id)
    return token


class TokenAuthentication(BaseAuthentication):
    """``Authorization: Bearer dmt_…``"""

    def authenticate(self, request: Request) -> tuple[Any, ApiToken] | None:
        raw = bearer(request)
        if raw is None:
            return None
        token = find_api_token(raw)
        if token is None or not token.user.is_active:
            raise AuthenticationFailed("This token is unknown, expired or revoked.")
        tell(user=token.user.get_username(), token_prefix=token.prefix)
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="dumont"'


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = TokenAuthentication
    name = "bearer"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer"}
