"""From Runpod's refusals (RFC 9457) to our errors: by status, and by the words where one status has several causes."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from hibernation.domain.errors import (
    BadOrder,
    DumontError,
    LaunchDeferred,
    NoCapacity,
    NotFound,
    OfferGone,
    OutOfCredit,
    ProviderDenied,
    ProviderError,
    ProviderRefused,
    ProviderUnavailable,
    RateLimited,
)
from hibernation.providers.replies import Pause, Reply, bounded, json_object, one_line, redacted, retry_after

SPEND_PAUSE_SECONDS = 600.0
"""An account may only spend so much an hour; nobody says how soon more is allowed."""
DEFAULT_PAUSE_SECONDS = 5.0
_MESSAGE_LENGTH = 300

# «No capacity» has no code of its own, only words, under the same status as a broken rule.
_CAPACITY = re.compile(
    r"no longer any instances|\bnot enough (free )?(gpus?|disk|capacity)|with enough disk"
    r"|\b(no|insufficient|out of)\b.{0,20}(capacity|stock|availab|resources)|could not be placed|\bunavailable"
)
_SPEND = re.compile(r"spend(ing)? limit")
_POOL = re.compile(r"\b(pool|gpu|data ?cent(er|re)|cloud|region)\b")
_EXHAUSTED = re.compile(r"r=0;\s*t=(\d{1,6})")


def failure_of(reply: Reply, *, launching: bool = False, secrets: Collection[str] = ()) -> DumontError | None:
    """See ``FailureOf``. A page of a gateway in front of Runpod says nothing about any pod."""
    problem = json_object(reply.body)
    if reply.status == 204 or (200 <= reply.status < 300 and problem is not None):
        return None
    words = redacted(_words(problem), secrets)
    message = f"Runpod answered {reply.status}: {words[:_MESSAGE_LENGTH] or 'no explanation'}"
    if reply.status == 429:
        return _not_now(message, _seconds(reply), launching)
    if reply.status >= 500 or reply.status < 300:
        return ProviderUnavailable(message)
    if reply.status == 401:
        return ProviderDenied(message)
    if problem is None:
        return ProviderError(message)
    return _refusal(reply.status, words.lower(), message, launching)


def pause(reply: Reply) -> Pause:
    """How long a refusal for haste wants no call at all. Never raises."""
    told = retry_after(reply)
    windows = [float(seconds) for seconds in _EXHAUSTED.findall(reply.headers.get("ratelimit", ""))]
    return Pause(told if told is not None or not windows else bounded(max(windows)))


def _refusal(status: int, words: str, message: str, launching: bool) -> DumontError:
    if _SPEND.search(words):
        return _not_now(message, SPEND_PAUSE_SECONDS, launching)
    match status:
        case 402:
            return OutOfCredit(message)
        case 403:
            # A key that may not rent says so too, but names nothing.
            return OfferGone(message) if launching and _POOL.search(words) else ProviderDenied(message)
        case 404:
            return OfferGone(message) if launching else NotFound(message)
        case 400 | 409 if _CAPACITY.search(words):
            return NoCapacity(message)
        case 422 if launching:
            return BadOrder(message)
        case 400 | 409 | 422:
            return ProviderRefused(message)
    return ProviderError(message)


def _words(problem: dict[str, Any] | None) -> str:
    if problem is None:
        return ""
    errors = problem.get("errors")
    parts = [problem.get("title"), problem.get("detail"), *(errors if isinstance(errors, list) else [])]
    return ": ".join(one_line(part) for part in parts if isinstance(part, str) and part)


def _not_now(message: str, seconds: float, launching: bool) -> DumontError:
    return LaunchDeferred(message, seconds) if launching else RateLimited(message, seconds)


def _seconds(reply: Reply) -> float:
    seconds = pause(reply).seconds
    return DEFAULT_PAUSE_SECONDS if seconds is None else seconds
