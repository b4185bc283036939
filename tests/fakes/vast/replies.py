"""How the fake market refuses."""

from __future__ import annotations

from typing import Any

from tests.fakes.http import as_json


class Refusal(Exception):
    """A call that fails: ``status`` and the members of the body, ``msg`` among them."""

    def __init__(self, status: int, error: str, msg: str, **members: Any) -> None:
        super().__init__(f"{status} {error}: {msg}")
        self.reply = as_json({"success": False, "error": error, "msg": msg, **members}, status)
