"""Keeps the readings the server could not take: the latest 240, in a file that survives restarts and torn writes."""

from __future__ import annotations

import json
import logging
from collections import deque
from pathlib import Path
from typing import Any

from agents.identity import write_atomically

log = logging.getLogger("dumont.agent")

LIMIT = 240


class Spool:
    """A bounded queue on disk, oldest first. A disk that cannot be written costs only what a restart would lose."""

    def __init__(self, path: Path, instance_id: str, limit: int = LIMIT) -> None:
        self._path = path
        self._limit = limit
        self._lines_in_file = 0
        self._readings: deque[dict[str, Any]] = deque(self._load(instance_id), maxlen=limit)

    def __len__(self) -> int:
        return len(self._readings)

    def add(self, reading: dict[str, Any]) -> None:
        """Append; when full the oldest is dropped."""
        self._readings.append({**reading, "spooled": True})
        if self._lines_in_file >= 2 * self._limit:
            self.save()
        else:
            self._append(self._readings[-1])

    def oldest(self) -> dict[str, Any]:
        return self._readings[0]

    def drop_oldest(self) -> None:
        """Forget a reading that arrived. Until ``save`` a crash sends it again; the sequence number tells."""
        self._readings.popleft()

    def save(self) -> None:
        """Make the file say what this object says."""
        try:
            write_atomically(self._path, "".join(_line(reading) for reading in self._readings))
            self._lines_in_file = len(self._readings)
        except OSError as error:
            log.warning("cannot write the spool: %s", error)

    def _append(self, reading: dict[str, Any]) -> None:
        try:
            with self._path.open("a") as file:
                file.write(_line(reading))
            self._lines_in_file += 1
        except OSError as error:
            log.warning("cannot write the spool: %s", error)

    def _load(self, instance_id: str) -> list[dict[str, Any]]:
        try:
            lines = self._path.read_text(errors="replace").splitlines()
        except OSError:
            return []
        readings = [reading for line in lines if (reading := _reading(line, instance_id))]
        # A torn last line would swallow the next one appended to it, so a damaged file is never appended to.
        self._lines_in_file = len(lines) if len(readings) == len(lines) else 2 * self._limit
        return readings


def _line(reading: dict[str, Any]) -> str:
    return json.dumps(reading, separators=(",", ":")) + "\n"


def _reading(line: str, instance_id: str) -> dict[str, Any] | None:
    """The reading on ``line``; None for a torn line and for one of another instance that used this home."""
    try:
        reading = json.loads(line)
    except (ValueError, RecursionError):
        return None
    ours = isinstance(reading, dict) and reading.get("instance_id") == instance_id
    return reading if ours and "seq" in reading else None
