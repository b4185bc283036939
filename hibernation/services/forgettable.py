"""What all processes share in Redis and may lose: lists for people, and how often something was asked in this minute.

Without Redis nothing is remembered and nothing bounded: nobody waits for what can be done without.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from time import monotonic, time
from typing import Any, TypeVar

from django.core.cache import cache
from redis.exceptions import RedisError

T = TypeVar("T")

_MINUTE = 60
_REST_SECONDS = 5.0
"""After a failure Redis is left alone for so long: one that hangs would cost every request its time-out."""
_failed_at = -math.inf


def recall(key: str) -> Any:
    """What was kept under this key, or ``None``."""
    return _tried(lambda: cache.get(key), None)


def keep(key: str, value: object, seconds: int) -> None:
    """For all processes, for so long at most."""
    _tried(lambda: cache.set(key, value, seconds), None)


def seconds_to_wait(who: str, most: int) -> int | None:
    """Seconds until ``who`` may ask again; ``None``: now. Counts this time. ``most`` 0: always."""
    if most == 0:
        return None
    now = time()
    key = f"throttle:{hashlib.sha256(who.encode()).hexdigest()}:{now // _MINUTE:.0f}"
    count = _tried(lambda: _count(key), 0)
    return None if count <= most else math.ceil(_MINUTE - now % _MINUTE)


def _tried(action: Callable[[], T], otherwise: T) -> T:
    global _failed_at
    if monotonic() - _failed_at < _REST_SECONDS:
        return otherwise
    try:
        return action()
    except RedisError:
        _failed_at = monotonic()
        return otherwise


def _count(key: str) -> int:
    """Atomic, so that many at once are counted as many. DRF's own lists of times are not."""
    cache.add(key, 0, timeout=2 * _MINUTE)
    try:
        return cache.incr(key)
    except ValueError:
        # Redis had no room for it.
        return 0
