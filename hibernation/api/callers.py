"""Who makes this request, with what they may do; asked of the database once a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from django.contrib.auth.models import AbstractBaseUser

from hibernation.models import ApiToken
from hibernation.services import access

if TYPE_CHECKING:
    from rest_framework.request import Request

_KEPT = "_dumont_caller"


def caller_of(request: Request) -> access.Caller:
    """Of an authenticated request; everything else stops at the permissions."""
    caller: access.Caller | None = getattr(request, _KEPT, None)
    if caller is None:
        token = request.auth if isinstance(request.auth, ApiToken) else None
        caller = access.caller_of(cast(AbstractBaseUser, request.user), token)
        setattr(request, _KEPT, caller)
    return caller
