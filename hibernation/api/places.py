"""How many requests may be slow at a time.

The web process has few threads, and whoever sends or reads a body decides how long it keeps one. Without these bounds
a handful of connections that dribble would silence every heartbeat. ``THREADS`` must stay well above their sum.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable

from django.http import JsonResponse

from hibernation.api.errors import plain_error

THREADS = 56


class Places:
    """``total`` places, of which one key has at most ``each``. Nobody waits for one."""

    def __init__(self, total: int, each: int | None = None) -> None:
        self._total = total
        self._each = each or total
        self._lock = threading.Lock()
        self._held: dict[object, Hashable] = {}

    def take(self, key: Hashable = None) -> Callable[[], None] | None:
        """What gives the place back, safe to repeat; ``None`` when there is no place."""
        place = object()
        with self._lock:
            keys = list(self._held.values())
            if len(keys) >= self._total or keys.count(key) >= self._each:
                return None
            self._held[place] = key

        def give() -> None:
            with self._lock:
                self._held.pop(place, None)

        return give


# Objects of the store on their way in or out: minutes each, over the network of a rented machine.
TRANSFERS = Places(20)
# Requests that wait for the end of an operation.
WAITS = Places(8)
# People looking into snapshots: each holds a chunk or two, and the network decides for how long.
FILES = Places(6, each=3)
# Small bodies of people, scripts and strangers.
BODIES = Places(6)
# Boxes asking for signed URLs, and their heartbeats: a box that dribbles harms only itself.
BOXES = Places(6, each=2)
HEARTBEATS = Places(THREADS, each=2)


def busy() -> JsonResponse:
    """The answer to a request that found no place."""
    reply = plain_error(503, "busy", "Too many slow requests at a time: try again in a moment.")
    reply.headers["Retry-After"] = "1"
    return reply
