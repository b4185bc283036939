"""What an answer says, whatever its form: JSON with any of several keys, plain text, HTML, or bytes of no sort."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hibernation.providers.fields import as_number
from hibernation.providers.replies import Pause, Reply, bounded, json_object, one_line, retry_after

_THRESHOLD = re.compile(r"threshold\s*[=:]\s*(\d{1,6}(?:\.\d{1,6})?)")
_TEXT_KEYS = ("msg", "message", "detail")


@dataclass(frozen=True, slots=True)
class Told:
    """``json``: the answer as an object, if it is one. ``code``: its error code. ``text``: what it says to people.

    ``contract_id``: a rental it names as made by this very call, whether the call succeeded or not.
    """

    status: int
    json: dict[str, Any] | None
    code: str = ""
    text: str = ""
    contract_id: str = ""

    @property
    def succeeded(self) -> bool:
        """A refusal may come with status 200: ``success`` is false, or there is an error and no ``success``."""
        if not 200 <= self.status < 300 or self.json is None:
            return False
        said = self.json.get("success")
        return said is True or (said is None and not self.code)

    @property
    def words(self) -> str:
        return ": ".join(part for part in (self.code, self.text) if part)


def read(reply: Reply) -> Told:
    """Never raises."""
    found = json_object(reply.body)
    if found is None:
        return Told(reply.status, None, text=one_line(reply.body.decode(errors="replace")))
    error = found.get("error")
    code = error if isinstance(error, str) else ""
    text = "; ".join(part for part in (_text(found.get(key)) for key in _TEXT_KEYS) if part)
    return Told(reply.status, found, one_line(code), one_line(text), contract_id(found.get("new_contract")))


def pause(reply: Reply) -> Pause:
    """What a refusal for haste says of when to come back. Never raises."""
    told = read(reply)
    reset = as_number(reply.headers.get("x-ratelimit-reset"))
    if told.code == "search_quota_exceeded" and reset is not None:
        return Pause(min(max(0.0, reset - datetime.now(UTC).timestamp()), 86_400.0))
    match = _THRESHOLD.search(told.text)
    threshold = float(match[1]) if match else None
    asked = retry_after(reply)
    if asked is None:
        asked = as_number((told.json or {}).get("retry_after"))
    return Pause(None if asked is None else bounded(asked), threshold)


def contract_id(value: object) -> str:
    """A contract's number as we keep it, or empty where it is none."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return ""
    text = str(value) if isinstance(value, str) or abs(value) < 1 << 63 else ""
    return text if text.isascii() and text.isdigit() and text.strip("0") and len(text) < 20 else ""


def _text(value: object) -> str:
    """A list is a validation's: its entries may repeat what was sent, their messages do not."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        messages = [one.get("msg") for one in value if isinstance(one, dict)]
        return ", ".join(message for message in messages if isinstance(message, str))
    return ""
