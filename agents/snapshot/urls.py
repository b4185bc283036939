"""Signed URLs from the control plane, in few requests: whoever asks first asks for all who wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

BATCH = 100
FRESH_SECONDS = 600.0
"""A URL older than this is asked for anew, long before any expires; one that expired sooner is refused and replaced."""


@dataclass(frozen=True, slots=True)
class Signed:
    """One object and the request that may be made for it. ``headers`` are part of the signature."""

    key: str
    url: str = field(repr=False)
    headers: dict[str, str] = field(repr=False)


@dataclass(slots=True, eq=False)
class _Wish:
    body: dict[str, Any]
    granted: Signed | None = None
    error: Exception | None = None


@dataclass(slots=True)
class Uploads:
    """URLs to store objects. ``ask`` gives one for each wish, in order, or raises; it runs in one thread at a time."""

    ask: Callable[[list[dict[str, Any]]], Sequence[Signed]]
    _turn: threading.Condition = field(default_factory=threading.Condition)
    _waiting: list[_Wish] = field(default_factory=list)
    _is_asking: bool = False

    def get(self, body: dict[str, Any]) -> Signed:
        wish = _Wish(body)
        with self._turn:
            self._waiting.append(wish)
        while (batch := self._take(wish)) is not None:
            self._grant(batch)
        if wish.granted is None:
            raise wish.error or RuntimeError("a wish was forgotten")
        return wish.granted

    def _take(self, wish: _Wish) -> list[_Wish] | None:
        """Wait for this wish's answer (``None``) or for the turn to ask for all that wait."""
        with self._turn:
            while self._is_asking and not (wish.granted or wish.error):
                self._turn.wait()
            if wish.granted or wish.error:
                return None
            self._is_asking = True
            batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
            return batch

    def _grant(self, batch: list[_Wish]) -> None:
        try:
            for wish, granted in zip(batch, self.ask([wish.body for wish in batch]), strict=True):
                wish.granted = granted
        except Exception as error:
            for wish in batch:
                wish.granted, wish.error = None, error
        finally:
            with self._turn:
                self._is_asking = False
                self._turn.notify_all()


@dataclass(slots=True)
class Downloads:
    """URLs to read objects, asked for together with those that will be wanted next."""

    ask: Callable[[list[str]], Sequence[Signed]]
    clock: Callable[[], float] = time.monotonic
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _order: list[str] = field(default_factory=list)
    _places: dict[str, int] = field(default_factory=dict)
    _known: dict[str, tuple[float, Signed]] = field(default_factory=dict)

    def expect(self, keys: Sequence[str]) -> None:
        """These will be wanted, in about this order."""
        self._order = list(keys)
        self._places = {key: place for place, key in enumerate(keys)}

    def get(self, key: str) -> Signed | None:
        """``None`` if the control plane leaves it out of its answer."""
        with self._lock:
            if not self._is_fresh(key):
                for signed in self.ask(self._batch(key)):
                    self._known[signed.key] = (self.clock(), signed)
            return self._known[key][1] if key in self._known else None

    def forget(self, signed: Signed) -> None:
        """It was refused: ask anew, unless somebody did already."""
        with self._lock:
            if signed.key in self._known and self._known[signed.key][1] is signed:
                del self._known[signed.key]

    def _batch(self, key: str) -> list[str]:
        place = self._places.get(key, len(self._order))
        following = (other for other in self._order[place + 1 :] if not self._is_fresh(other))
        return [key, *(other for _, other in zip(range(BATCH - 1), following, strict=False))]

    def _is_fresh(self, key: str) -> bool:
        return key in self._known and self.clock() - self._known[key][0] < FRESH_SECONDS
