"""HTTP answers of any provider: what is common in how they are read, and nothing of what they mean."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

from hibernation.providers.fields import as_number

LONGEST_PAUSE_SECONDS = 3600.0
_SHORTEST_SECRET = 4


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer, read to its end. Header names are in lower case."""

    status: int
    body: bytes = field(default=b"", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Pause:
    """How long the provider wants no such call: ``seconds`` from now, and between any two ``threshold``, if told."""

    seconds: float | None = None
    threshold: float | None = None


def json_object(body: bytes) -> dict[str, Any] | None:
    """The answer as an object, if it is one. Never raises."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def one_line(text: str) -> str:
    return " ".join(text[:4096].split())


def retry_after(reply: Reply) -> float | None:
    """Seconds that the header asks for, which may be a date in the words of HTTP; bounded. ``None``: not told."""
    value = reply.headers.get("retry-after")
    seconds = as_number(value)
    if seconds is None and value is not None:
        seconds = _seconds_until(value)
    return None if seconds is None else bounded(seconds)


def bounded(seconds: float) -> float:
    """A pause that a provider asks for, within reason."""
    return min(max(0.0, seconds), LONGEST_PAUSE_SECONDS)


def redacted(text: str, secrets: Collection[str]) -> str:
    """``text`` without any of ``secrets``; those of a few letters would only make it unreadable."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "•••")
    return text


def _seconds_until(date: str) -> float | None:
    try:
        moment = parsedate_to_datetime(date)
        return (moment - datetime.now(moment.tzinfo)).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None
