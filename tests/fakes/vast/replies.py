"""What one call asked and what it is answered, apart from any socket."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Request:
    """``path`` ends with a slash; ``body`` is the JSON object that came, empty if none did."""

    method: str
    path: str
    query: Mapping[str, str]
    body: dict[str, Any]
    headers: Mapping[str, str]
    client: str = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Reply:
    """``status`` 0: the connection ends without an answer."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


HANG_UP = Reply(0)
BAD_GATEWAY = Reply(
    502, b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>", "text/html"
)


class Refusal(Exception):
    """A call that fails: ``status`` and the members of the body, ``msg`` among them."""

    def __init__(self, status: int, error: str, msg: str, **members: Any) -> None:
        super().__init__(f"{status} {error}: {msg}")
        self.reply = as_json({"success": False, "error": error, "msg": msg, **members}, status)


def as_json(document: Any, status: int = 200, **headers: str) -> Reply:
    """The content type is exactly ``application/json``: the official client refuses a charset."""
    return Reply(status, json.dumps(document).encode(), headers=headers)


def as_text(text: str, status: int = 200) -> Reply:
    return Reply(status, text.encode(), "text/plain")
