"""The exit codes that scripts can trust, and which error ends with which."""

from __future__ import annotations

from enum import IntEnum

from dumont.client.errors import BadAddress, ClientError, Refused


class Code(IntEnum):
    DONE = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    NOT_ALLOWED = 4
    CONFLICT = 5
    UNREACHABLE = 6
    TIMED_OUT = 7
    INTERRUPTED = 130


MEANING = {
    Code.DONE: "done",
    Code.FAILED: "the operation failed or was cancelled",
    Code.USAGE: "the command makes no sense, or the API says so of a value",
    Code.NOT_FOUND: "no such instance, operation, snapshot or file",
    Code.NOT_ALLOWED: "no token, or not with this one",
    Code.CONFLICT: "the instance's state does not allow it now",
    Code.UNREACHABLE: "the API does not answer, or fails",
    Code.TIMED_OUT: "waited long enough; the operation goes on",
    Code.INTERRUPTED: "interrupted; an operation that was begun goes on",
}
_OF_STATUS = {
    401: Code.NOT_ALLOWED,
    403: Code.NOT_ALLOWED,
    404: Code.NOT_FOUND,
    409: Code.CONFLICT,
    410: Code.NOT_FOUND,
    429: Code.UNREACHABLE,
}


class Failure(Exception):
    """Ends the command with ``code`` after its message was told."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def failure_of(error: ClientError) -> Failure:
    if isinstance(error, Refused):
        wrong = "".join(f"\n  {name}: {what}" for name, what in error.fields.items())
        return Failure(_code_of(error.status), error.message + wrong)
    return Failure(Code.USAGE if isinstance(error, BadAddress) else Code.UNREACHABLE, error.message)


def _code_of(status: int) -> Code:
    if status in _OF_STATUS:
        return _OF_STATUS[status]
    return Code.USAGE if 400 <= status < 500 else Code.UNREACHABLE
