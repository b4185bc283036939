"""What was asked of the fake and what it answered, in order. Authorization is told as the key's name, never the key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from threading import Lock
from typing import Any

from tests.fakes.http import Reply, Request


@dataclass(frozen=True, slots=True)
class Entry:
    """One call. ``call`` is the route's name; ``key`` names who asked, empty for nobody; ``status`` 0: hung up."""

    number: int
    at: float
    method: str
    path: str
    query: dict[str, str]
    body: dict[str, Any]
    agent: str
    key: str
    call: str
    status: int


@dataclass
class Journal:
    _entries: list[Entry] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def write(self, at: float, request: Request, call: str, key: str, reply: Reply) -> None:
        agent = request.headers.get("user-agent", "")
        with self._lock:
            entry = Entry(
                len(self._entries) + 1,
                at,
                request.method,
                request.path,
                {name: value for name, value in request.query.items() if name != "api_key"},
                request.body,
                agent,
                key,
                call,
                reply.status,
            )
            self._entries.append(entry)

    def of(self, *calls: str) -> list[Entry]:
        """The calls of these routes, oldest first; without names, all."""
        return [entry for entry in self if not calls or entry.call in calls]

    def lines(self) -> list[tuple[str, str]]:
        """Method and path of each."""
        return [(entry.method, entry.path) for entry in self]

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()

    def as_json(self) -> list[dict[str, Any]]:
        return [asdict(entry) for entry in self]

    def __iter__(self) -> Iterator[Entry]:
        with self._lock:
            return iter(list(self._entries))

    def __len__(self) -> int:
        return len(self._entries)
