"""The two forms of a log: lines for people and JSON for machines. Both say for whom, and neither holds a secret."""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime
from typing import Any

from hibernation.logs.context import known
from hibernation.logs.redaction import redacted

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class Lines(logging.Formatter):
    """``2026-12-01 12:00:00,000 INFO name message [request_id=… operation_id=…]``; a trace follows on its own lines."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        told = " ".join(f"{name}={value}" for name, value in known().items())
        line = f"{super().formatMessage(record)} [{told}]" if told else super().formatMessage(record)
        # What others sent may hold a line end, and must not look like a line of ours.
        return _CONTROL.sub(_escaped, line)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's own name
        """Set in, and without other control characters: an error's words cannot look like a line either."""
        lines = super().formatException(ei).split("\n")
        return "\n".join(f"    {_CONTROL.sub(_escaped, line)}" for line in lines)

    def format(self, record: logging.LogRecord) -> str:
        record.exc_text = None  # another handler's form of the trace
        return redacted(super().format(record))


class JsonLines(logging.Formatter):
    """An object a line: ``at``, ``level``, ``logger``, ``message``, what it is about, and ``trace`` if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": redacted(record.getMessage()),
        }
        for name, value in {**known(), **getattr(record, "facts", {})}.items():
            line.setdefault(name, redacted(value) if isinstance(value, str) else value)
        if record.exc_info:
            line["trace"] = redacted(self.formatException(record.exc_info))
        return json.dumps(line, default=str)


def _escaped(found: re.Match[str]) -> str:
    return found.group().encode("unicode_escape").decode()
