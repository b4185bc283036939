"""Takes secrets out of texts: those of a known shape by that, and those that this process was told by their value."""

from __future__ import annotations

import re
import threading
from urllib.parse import quote

HIDDEN = "•••"
_SHORTEST = 8
"""Shorter ones stand in innocent words, and to hide those would only make a log unreadable."""
_SHAPES: tuple[tuple[tuple[str, ...], re.Pattern[str], str], ...] = (
    # Our tokens. What is left of one tells it from others, as in the console.
    (("dmt_", "dme_"), re.compile(r"\b(dm[te]_[\w-]{4})[\w-]{4,}"), rf"\1{HIDDEN}"),
    (("dma1.",), re.compile(r"\b(dma1\.\d+\.\d+)\.\w+"), rf"\1.{HIDDEN}"),
    (("bearer", "basic"), re.compile(r"(?i)\b(bearer|basic)(\s+)[^\s\"',;]{12,}"), rf"\1\2{HIDDEN}"),
    # What signs the URL of an object; whoever has it may read or write that until it expires.
    (("signature", "credential", "security-token"),
     re.compile(r"(?i)\b((?:X-Amz-)?(?:Signature|Credential|Security-Token))(=|%3D)[^&\s\"'<>]+"), rf"\1\2{HIDDEN}"),
    (("key", "password", "secret", "token"),
     re.compile(r"(?i)\b(api_?key|password|secret|token)(=|[\"']\s*:\s*[\"'])[^&\s\"'<>]+"), rf"\1\2{HIDDEN}"),
    (("://",), re.compile(r"(\w://[^\s/:@]*):[^\s/@]+@"), rf"\1:{HIDDEN}@"),
)  # fmt: skip
"""Words without which a shape cannot be there, for most lines hold none; the shape; what is written instead."""
_values: set[str] = set()
_pattern: re.Pattern[str] | None = None
_lock = threading.Lock()


def hide(secret: str) -> None:
    """From now on this process writes it into no log. Repeatable; too short ones are left as they are."""
    global _pattern
    if len(secret) < _SHORTEST or secret in _values:
        return
    with _lock:
        _values.update({secret, quote(secret, safe="")})
        longest_first = sorted(_values, key=len, reverse=True)
        _pattern = re.compile("|".join(map(re.escape, longest_first)))


def redacted(text: str) -> str:
    if _pattern is not None:
        text = _pattern.sub(HIDDEN, text)
    lowered = text.lower()
    for needles, shape, instead in _SHAPES:
        if any(needle in lowered for needle in needles):
            text = shape.sub(instead, text)
    return text
