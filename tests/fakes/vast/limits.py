"""The market's rate limits: a least time between two calls of one endpoint by one key, and ten searches a minute."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import Literal

from tests.fakes.http import Reply, as_json, as_text

# Seconds between two calls. Calls that share a line of the documentation share their time.
_INTERVALS: dict[tuple[str, ...], float] = {
    ("list",): 1.0,
    ("by_id",): 2.0,
    ("create",): 4.5,
    ("destroy", "destroy_bulk"): 3.0,
    ("start", "stop", "change_bulk"): 1.0,
    ("label",): 1.0,
    ("reboot",): 1.0,
    ("recycle",): 1.0,
    ("execute",): 1.5,
    ("ssh_key_create", "ssh_key_change"): 1.0,
    ("detach",): 2.0,
    ("bid",): 5.5,
    ("volumes_search",): 5.5,
    ("volumes",): 5.5,
    ("volume_delete",): 5.5,
    ("secrets",): 5.0,
    ("secret_write",): 3.0,
    ("templates",): 3.0,
    ("charges",): 1.0,
}
THRESHOLDS = {call: seconds for calls, seconds in _INTERVALS.items() for call in calls}
# Whoever comes too early for a machine waits longer, counted from the last that was let in.
PENALTIES = {"create": 12.0}
SEARCHES_A_MINUTE = 10

Shape = Literal["json", "text", "both"]


@dataclass
class Limits:
    """``factor`` stretches or shrinks every time; 0 turns the limits off. ``shape``: ``both`` alternates."""

    factor: float = 0.0
    shape: Shape = "json"
    refused: int = 0
    _open_at: dict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))
    _let_in_at: dict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))
    _searches: dict[str, deque[float]] = field(default_factory=lambda: defaultdict(deque))

    def check(self, call: str, key: str, client: str, now: float) -> Reply | None:
        """None if the call may come in now."""
        if self.factor <= 0:
            return None
        if call == "search":
            return self._check_search(client, now)
        if call not in THRESHOLDS:
            return None
        group = next(calls for calls in _INTERVALS if call in calls)[0]
        who = (group, key)
        if now < self._open_at[who]:
            penalty = PENALTIES.get(call, 0.0) * self.factor
            self._open_at[who] = max(self._open_at[who], self._let_in_at[who] + penalty)
            return self.refuse(THRESHOLDS[call])
        self._let_in_at[who] = now
        self._open_at[who] = now + THRESHOLDS[call] * self.factor
        return None

    def refuse(self, threshold: float) -> Reply:
        """A 429 as documented: JSON with ``detail``, or plain text. It never says how long to wait but so."""
        self.refused += 1
        text = f"API requests too frequent endpoint threshold={threshold}"
        if self.shape == "text" or (self.shape == "both" and self.refused % 2 == 0):
            return as_text(text, 429)
        return as_json({"detail": text}, 429)

    def _check_search(self, client: str, now: float) -> Reply | None:
        recent = self._searches[client]
        while recent and recent[0] <= now - 60 * self.factor:
            recent.popleft()
        if len(recent) >= SEARCHES_A_MINUTE:
            return self.refuse(60 / SEARCHES_A_MINUTE)
        recent.append(now)
        return None
