"""In place of what providers keep in Redis: every call is permitted, and no answer is kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class FreeLimiter:
    """Permits everything but what a test forbids, and keeps what it was told."""

    scale: float = 1.0
    refuses: Exception | None = None
    acquired: list[tuple[str, str, bool]] = field(default_factory=list)
    penalties: list[tuple[str, float | None, float | None]] = field(default_factory=list)

    def acquire(self, call: str, who: str, *, urgent: bool = False) -> None:
        self.acquired.append((str(call), who, urgent))
        if self.refuses is not None:
            raise self.refuses

    def penalize(self, call: str, seconds: float | None = None, threshold: float | None = None) -> float:
        self.penalties.append((str(call), seconds, threshold))
        return max(seconds or 0.0, threshold or 0.0)


class EmptyShelf:
    def get(self, name: str) -> Any:
        return None

    def put(self, name: str, value: Any, seconds: float) -> None:
        pass
