"""Answers that many want at once, kept for some seconds in Redis. It may lose any of them at any time."""

from __future__ import annotations

import json
from typing import Any

from redis import Redis
from redis.exceptions import RedisError


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
