"""From vast.ai's refusals to our errors: by what the answer says, because its statuses mean several things at once.

A bad key answers 404 like a machine that is gone, and a refused start answers 200.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from hibernation.domain.errors import (
    BadOrder,
    DumontError,
    LaunchDeferred,
    LaunchLeftover,
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
from hibernation.providers.replies import Reply, redacted
from hibernation.providers.vast.replies import Told, pause, read

SPEND_PAUSE_SECONDS = 600.0
"""New accounts may only spend so much at once; nobody says how soon more is allowed."""
DEFAULT_PAUSE_SECONDS = 2.0
_MESSAGE_LENGTH = 300

_HASTE = re.compile(r"too frequent|too many requests|rate.?limit|threshold\s*[=:]|search_quota_exceeded")
_DENIED = re.compile(r"auth_error|invalid user key|session (has )?expired|log ?in (is )?required")
_CREDIT = re.compile(r"insufficient.credit|(not enough|lacks?|no) credit")
_SPEND = re.compile(r"spend_rate_limit")
_OFFER = re.compile(r"no_such_ask")
_HOST_ONLY = re.compile(r"host.?only|only .{0,40}\bhost\b")
_BUSY = re.compile(r"resources?\b.{0,40}\bunavailable|unavailable\b.{0,40}\bresource|\bqueued\b")
_ORDER = re.compile(r"invalid_|no_ssh_key_for_vm|too_long|validation")
_GONE_CODES = frozenset({"no_such_instance", "not_found"})


def failure_of(reply: Reply, *, launching: bool = False, secrets: Collection[str] = ()) -> DumontError | None:
    """The failure that ``reply`` tells, or ``None`` for a success. Total: any bytes are one or the other.

    ``launching``: the call may have rented something, so that only what is certain becomes a ``ProviderRefused``.
    """
    told = read(reply)
    if told.succeeded:
        return None
    message = _message(told, secrets)
    if launching and told.contract_id:
        return LaunchLeftover(message, told.contract_id)
    return _by_words(told, reply, message, launching) or _by_status(told, message, launching)


def is_gone(told: Told) -> bool:
    """Whether the answer says that this machine does not exist. A status of 404 alone does not."""
    return told.code in _GONE_CODES or "no_such_instance" in told.text


def _message(told: Told, secrets: Collection[str]) -> str:
    words = redacted(told.words, secrets) or "no explanation"
    return f"vast.ai answered {told.status}: {words[:_MESSAGE_LENGTH]}"


def _by_words(told: Told, reply: Reply, message: str, launching: bool) -> DumontError | None:
    # A gateway's page may say anything.
    is_page = told.json is None and (told.status >= 500 or told.text.startswith("<"))
    words = "" if is_page else told.words.lower()
    if _SPEND.search(words):
        return _not_now(message, SPEND_PAUSE_SECONDS, launching)
    if _DENIED.search(words):
        return ProviderDenied(message)
    if _HASTE.search(words) or told.status == 429:
        return _not_now(message, _seconds(reply), launching)
    if _CREDIT.search(words):
        return OutOfCredit(message)
    if _OFFER.search(words) or (launching and told.status == 403 and _HOST_ONLY.search(words)):
        return OfferGone(message)
    if is_gone(told) and not launching:
        return NotFound(message)
    if _BUSY.search(words):
        return NoCapacity(message)
    return _refused(message, launching) if _ORDER.search(words) else None


def _by_status(told: Told, message: str, launching: bool) -> DumontError:
    if told.status >= 500 or (200 <= told.status < 300 and told.json is None):
        return ProviderUnavailable(message)
    if told.status in (401, 403):
        return ProviderDenied(message)
    if told.status in (400, 422) and told.json is not None:
        return _refused(message, launching)
    return ProviderError(message)


def _refused(message: str, launching: bool) -> ProviderRefused:
    return BadOrder(message) if launching else ProviderRefused(message)


def _not_now(message: str, seconds: float, launching: bool) -> DumontError:
    return LaunchDeferred(message, seconds) if launching else RateLimited(message, seconds)


def _seconds(reply: Reply) -> float:
    wanted = pause(reply)
    told = [value for value in (wanted.seconds, wanted.threshold) if value is not None]
    return max(told, default=DEFAULT_PAUSE_SECONDS)
