"""How often one may ask: each token or user, and each address that shows none or a wrong one. Counted in Redis.

Without Redis everybody is let through: these bounds keep a runaway script from the others, and guard no secret. Agents
and the store are not counted; they have bounds of their own (``hibernation.api.places``).
"""

from __future__ import annotations

import hashlib
import math
from time import monotonic, time
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.cache import cache
from redis.exceptions import RedisError
from rest_framework.exceptions import Throttled
from rest_framework.throttling import BaseThrottle

from hibernation.models import ApiToken

if TYPE_CHECKING:
    # They import this module in turn: it is among the defaults of every view.
    from rest_framework.request import Request
    from rest_framework.views import APIView

_MINUTE = 60
_REST_SECONDS = 5.0
"""After a failure Redis is left alone for so long: one that hangs would cost every request its time-out."""
_COUNTED = "_dumont_counted"
_failed_at = -math.inf


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
        return f"address:{BaseThrottle().get_ident(request)}", settings.DUMONT_STRANGERS_PER_MINUTE
    kind = "token" if isinstance(request.auth, ApiToken) else "user"
    known = request.auth if isinstance(request.auth, ApiToken) else request.user
    return f"{kind}:{known.pk}", settings.DUMONT_REQUESTS_PER_MINUTE


def too_many_strangers(request: Request) -> Throttled | None:
    """Counts one more that showed no token or a wrong one: what to answer if its address did that too often."""
    wait = seconds_to_wait(
        f"address:{BaseThrottle().get_ident(request)}", settings.DUMONT_STRANGERS_PER_MINUTE
    )
    return None if wait is None else Throttled(wait)


def seconds_to_wait(who: str, most: int) -> int | None:
    """Seconds until ``who`` may ask again; ``None``: now. Counts this time. ``most`` 0: always."""
    global _failed_at
    if most == 0 or monotonic() - _failed_at < _REST_SECONDS:
        return None
    now = time()
    try:
        count = _count(f"throttle:{hashlib.sha256(who.encode()).hexdigest()}:{now // _MINUTE:.0f}")
    except RedisError:
        _failed_at = monotonic()
        return None
    return None if count <= most else math.ceil(_MINUTE - now % _MINUTE)


def _count(key: str) -> int:
    """Atomic, so that many at once are counted as many. DRF's own lists of times are not."""
    cache.add(key, 0, timeout=2 * _MINUTE)
    try:
        return cache.incr(key)
    except ValueError:
        # Redis had no room for it.
        return 0
