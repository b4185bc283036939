"""How a call to the API fails: no answer, or an answer that says no."""

from __future__ import annotations

from collections.abc import Mapping


class ClientError(Exception):
    """Base of all. The message is a sentence for people, and holds no token."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class BadAddress(ClientError):
    """This is no address that a token may be sent to."""


class Unreachable(ClientError):
    """No whole answer came. What a request was to change may be changed or not."""


class Refused(ClientError):
    """The API said no, in its own words. ``code``: the reason's stable name; ``fields``: what is wrong with each."""

    def __init__(self, status: int, code: str, message: str, fields: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.fields = dict(fields or {})
