"""How the fake Runpod refuses: problems as of RFC 9457."""

from __future__ import annotations

import json

from tests.fakes.http import Reply

_TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    422: "Unprocessable Entity",
    429: "Too Many Requests",
    500: "Internal Server Error",
}


def problem(status: int, detail: str, errors: list[str] | None = None, **headers: str) -> Reply:
    document = {"title": _TITLES[status], "status": status, "detail": detail}
    body = json.dumps(document | ({"errors": errors} if errors else {})).encode()
    return Reply(status, body, "application/problem+json", headers)


class Refusal(Exception):
    def __init__(self, status: int, detail: str, errors: list[str] | None = None) -> None:
        super().__init__(f"{status}: {detail}")
        self.reply = problem(status, detail, errors)


UNAUTHORIZED = problem(401, "invalid bearer token")
FORBIDDEN = problem(403, "access denied")
BLOCKED = Reply(403, b"error code: 1010", "text/plain")
FAILED = problem(500, "internal server error")
NO_CAPACITY = (
    "There are no longer any instances available with the requested specifications. Please try again."
)
REFUSALS = {
    "no_capacity": (400, NO_CAPACITY),
    "no_disk": (400, "There are no longer any instances available with enough disk space."),
    "pool_403": (403, "your account cannot access the requested gpu pool"),
    "insufficient_402": (402, "Your balance is too low to create this pod."),
    "spend_limit": (400, "You have reached your spend limit of 80 USD per hour."),
    "rule_400": (400, "mounts.persistent and mounts.network are mutually exclusive"),
    "create_422": (422, "Request validation failed."),
}
"""By fault."""
