"""One rate limit for all processes, kept in Redis on its clock. Without Redis there are no calls, never unlimited ones.

Whoever may not call yet keeps a place in line under a name of his own, and is told when to come back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from hibernation.domain.errors import ProviderUnavailable, RateLimited

PATIENCE_SECONDS = 2.0
"""The longest that a call waits here. Who must wait longer comes again."""
URGENT_PATIENCE_SECONDS = 10.0
MARGIN = 1.1
"""Two calls may meet closer at the provider than they left here."""
SHORTEST_PAUSE_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 60.0
# A step that is told a moment comes a little later than that, and one that gave up never.
_LATE_SECONDS = 1.0
_FORGET_SECONDS = 60.0
_MICRO = 1_000_000


@dataclass(frozen=True, slots=True)
class Limit:
    """At most ``calls`` in any ``seconds``. ``penalty``: the least seconds without a call after a refusal."""

    seconds: float
    calls: int = 1
    penalty: float = 0.0


class Limiter:
    """``limits`` by the name of the call. ``scale``: seconds of ours for one of the provider's."""

    def __init__(
        self,
        redis: Redis,
        namespace: str,
        limits: Mapping[str, Limit],
        *,
        scale: float = 1.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._namespace = namespace
        self._limits = limits
        self.scale = scale
        self._sleep = sleep
        self._take = redis.register_script(_script("limiter"))
        self._punish = redis.register_script(_script("penalty"))

    def acquire(self, call: str, who: str, *, urgent: bool = False) -> None:
        """Returns when the call may be made, ``PATIENCE_SECONDS`` from now at most.

        Raises ``RateLimited`` where that takes longer: ``who`` then has a place in line and comes again under the same
        name; nobody, ``""``, has none. ``urgent`` goes ahead of the line and waits longer: the next page of a list, the
        second half of a call.
        """
        limit = self._limits[call]
        spacing = limit.seconds * self.scale * MARGIN
        patience = URGENT_PATIENCE_SECONDS if urgent else PATIENCE_SECONDS
        numbers = map(_micro, (spacing, patience, _LATE_SECONDS, _FORGET_SECONDS))
        per, waits, late, forget = numbers
        try:
            granted, wait = self._take(
                self._keys(call), [who, limit.calls, per, waits, int(urgent), late, forget]
            )
        except RedisError as error:
            raise _without_redis(error) from error
        if not granted:
            raise RateLimited(f"Too many calls at once: {call}.", wait / _MICRO)
        if wait:
            self._sleep(wait / _MICRO)

    def penalize(self, call: str, seconds: float | None = None, threshold: float | None = None) -> float:
        """Heed a refusal, for everybody: no call for ``seconds``, in future ``threshold`` between two, in its seconds.

        Refusals that tell nothing make longer and longer pauses. Returns the pause in our seconds.
        """
        told = [value for value in (seconds, threshold and threshold * MARGIN) if value is not None]
        pause = max(*told, self._limits[call].penalty) if told else None
        shortest = max(SHORTEST_PAUSE_SECONDS, self._limits[call].penalty)
        spacing = None if threshold is None else threshold * MARGIN
        scaled = (pause, shortest, LONGEST_PAUSE_SECONDS, spacing)
        arguments = ["" if value is None else _micro(value * self.scale) for value in scaled]
        try:
            return float(self._punish(self._keys(call)[-1:], arguments)) / _MICRO
        except RedisError as error:
            raise _without_redis(error) from error

    def _keys(self, call: str) -> list[str]:
        return [f"{self._namespace}:{call}:{part}" for part in ("grants", "line", "due", "state")]


def _micro(seconds: float) -> int:
    return int(seconds * _MICRO)


def _without_redis(error: RedisError) -> ProviderUnavailable:
    return ProviderUnavailable(
        f"The rate limit cannot be kept without Redis ({type(error).__name__}): no call was made."
    )


def _script(name: str) -> str:
    return Path(__file__).with_name(f"{name}.lua").read_text()
