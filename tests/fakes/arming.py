"""Faults that a fake has armed: which, where and how often. What each does is the fake's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from threading import RLock
from typing import Any


@dataclass
class Armed:
    """A fault that waits. ``left`` None: for ever."""

    name: str
    left: int | None
    where: dict[str, Any]
    options: dict[str, Any]

    def hits(self, context: Mapping[str, Any]) -> bool:
        return all(fnmatchcase(str(context.get(key)), str(wanted)) for key, wanted in self.where.items())


@dataclass
class Faults:
    """What is armed. Of several that hit the oldest is used.

    ``known``: the arguments of each fault and their defaults. ``places``: what it may be narrowed to. ``aliases``:
    short names for a fault at a place.
    """

    known: Mapping[str, Mapping[str, Any]]
    places: frozenset[str]
    aliases: Mapping[str, tuple[str, Mapping[str, str]]] = field(default_factory=dict)
    _armed: list[Armed] = field(default_factory=list)
    _lock: RLock = field(default_factory=RLock)

    def arm(
        self, name: str, times: int | None = 1, where: Mapping[str, Any] | None = None, **options: Any
    ) -> None:
        """``ValueError`` for a fault, a place or an argument that does not exist."""
        known, place = self.aliases.get(name, (name, {}))
        place = {**place, **(where or {})}
        if known not in self.known:
            raise ValueError(f"no such fault: {name}; there are {', '.join([*self.known, *self.aliases])}")
        if strange := (set(place) - self.places) | (set(options) - set(self.known[known])):
            raise ValueError(f"{name} takes no {', '.join(sorted(strange))}")
        with self._lock:
            self._armed.append(Armed(known, times, place, {**self.known[known], **options}))

    def disarm(self, name: str | None = None) -> None:
        """What it has done stays done."""
        known = self.aliases.get(name, (name, {}))[0] if name else None
        with self._lock:
            self._armed = [armed for armed in self._armed if known not in (None, armed.name)]

    def take(self, name: str, **context: Any) -> dict[str, Any] | None:
        """The arguments of the fault if it is to hit here, None if not; uses up one."""
        with self._lock:
            for armed in self._armed:
                if armed.name == name and armed.hits(context):
                    self._use(armed)
                    return armed.options
        return None

    def is_armed(self, *names: str) -> bool:
        return any(armed.name in names for armed in self._armed)

    def as_json(self) -> list[dict[str, Any]]:
        with self._lock:
            return [
                {"name": armed.name, "left": armed.left, "where": armed.where, "options": armed.options}
                for armed in self._armed
            ]

    def _use(self, armed: Armed) -> None:
        if armed.left is not None:
            armed.left -= 1
            if armed.left <= 0:
                self._armed.remove(armed)
