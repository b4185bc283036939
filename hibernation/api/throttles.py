"""How often one may ask: each token or user, and each address that shows none or a wrong one. Counted in Redis.

Without Redis everybody is let through: these bounds keep a runaway script from the others, and guard no secret. Agents
and the store are not counted; they have bounds of their own (``hibernation.api.places``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from rest_framework.exceptions import Throttled
from rest_framework.throttling import BaseThrottle

from hibernation.api.addresses import network_of
from hibernation.models import ApiToken
from hibernation.services.forgettable import seconds_to_wait

if TYPE_CHECKING:
    # They import this module in turn: it is among the defaults of every view.
    from rest_framework.request import Request
    from rest_framework.views import APIView

_COUNTED = "_dumont_counted"


class PerCaller(BaseThrottle):
    """Counts each request once, however often it is asked about it: one that is refused counts, too."""

    _wait: int | None = None

    def allow_request(self, request: Request, view: APIView) -> bool:
        if not hasattr(request._request, _COUNTED):
            setattr(request._request, _COUNTED, True)
            self._wait = seconds_to_wait(*_who(request))
        return self._wait is None

    def wait(self) -> float | None:
        return self._wait


def _who(request: Request) -> tuple[str, int]:
    """By a token: that token; by a session: the user; everybody else: the address. And how often that may ask."""
    if request.user is None or not request.user.is_authenticated:
        return f"address:{network_of(request)}", settings.DUMONT_STRANGERS_PER_MINUTE
    kind = "token" if isinstance(request.auth, ApiToken) else "user"
    known = request.auth if isinstance(request.auth, ApiToken) else request.user
    return f"{kind}:{known.pk}", settings.DUMONT_REQUESTS_PER_MINUTE


def too_many_strangers(request: Request) -> Throttled | None:
    """Counts one more that showed no token or a wrong one: what to answer if its address did that too often."""
    wait = seconds_to_wait(f"address:{network_of(request)}", settings.DUMONT_STRANGERS_PER_MINUTE)
    return None if wait is None else Throttled(wait)
