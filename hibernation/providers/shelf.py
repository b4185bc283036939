"""Answers that many want at once, kept for some seconds in Redis. It may lose any of them at any time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from hibernation.domain.errors import RateLimited

STALE_TIMES = 4


class Shelf:
    def __init__(self, redis: Redis, namespace: str) -> None:
        self._redis = redis
        self._namespace = namespace

    def get(self, name: str) -> Any:
        """What was put there, or ``None``."""
        try:
            found = self._redis.get(f"{self._namespace}:shelf:{name}")
        except RedisError:
            return None
        return None if not isinstance(found, (bytes, str)) else json.loads(found)

    def put(self, name: str, value: Any, seconds: float) -> None:
        try:
            self._redis.set(
                f"{self._namespace}:shelf:{name}", json.dumps(value), px=max(1, int(seconds * 1000))
            )
        except RedisError:
            return


def shared(
    shelf: Shelf, question: Mapping[str, Any], seconds: float, ask: Callable[[str], list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    """The rows that answer ``question``, also those that another process got in the last ``seconds``.

    A hundred wakes that want the same do not ask a hundred times. ``ask`` is given a name for the question; while its
    turn has not come, older rows will do, ``STALE_TIMES`` as old at most.
    """
    name = hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()[:32]
    kept = shelf.get(name)
    if isinstance(kept, list) and shelf.get(f"{name}:fresh"):
        return kept
    try:
        rows = ask(name)
    except RateLimited:
        if isinstance(kept, list):
            return kept
        raise
    shelf.put(name, rows, STALE_TIMES * seconds)
    shelf.put(f"{name}:fresh", True, seconds)
    return rows
