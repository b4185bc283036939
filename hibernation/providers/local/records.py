"""The local provider's registry of rented machines: one file, shared by every process under one lock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from hibernation.providers.local.files import locked, read_json, write_json
from hibernation.providers.local.processes import ProcessId

FIRST_CONTRACT = 30_000_001


@dataclass(frozen=True, slots=True)
class Record:
    """One rental. ``marker`` is in the environment of each of its processes and of no other.

    ``pid`` and ``pid_started`` name the keeper of its processes; both are 0 until it has started. ``stopped``: we ended
    its processes, and its folder waits.
    """

    contract_id: str
    label: str
    gpu_type: str
    gpu_count: int
    region: str
    price_per_hour: str
    host_key: str
    marker: str
    started_at: str
    pid: int = 0
    pid_started: int = 0
    ssh_port: int = 0
    workspace: str = "/workspace"
    stopped: bool = False

    @property
    def keeper(self) -> ProcessId | None:
        return ProcessId(self.pid, self.pid_started) if self.pid else None


class Records:
    """Reads and writes the registry. A reader never waits; each change is one locked replacement."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "registry.json"
        self._lock = folder / "registry.lock"

    def all(self) -> list[Record]:
        return [Record(**row) for row in self._read()["machines"].values()]

    def get(self, contract_id: str) -> Record | None:
        row = self._read()["machines"].get(contract_id)
        return Record(**row) if row else None

    def add(self, build: Callable[[str], Record]) -> Record:
        """Stores ``build(contract id)`` under an id never used before."""
        with locked(self._lock):
            stored = self._read()
            record = build(str(stored["next"]))
            stored["machines"][record.contract_id] = asdict(record)
            write_json(self._file, {**stored, "next": stored["next"] + 1})
            return record

    def change(self, contract_id: str, **fields: Any) -> bool:
        """Sets fields of a record. False, and nothing is stored, if the rental has ended meanwhile."""
        with locked(self._lock):
            stored = self._read()
            row = stored["machines"].get(contract_id)
            if row is None:
                return False
            stored["machines"][contract_id] = asdict(replace(Record(**row), **fields))
            write_json(self._file, stored)
            return True

    def remove(self, contract_id: str) -> bool:
        """Whether this call removed it: of two at once, one is told True."""
        with locked(self._lock):
            stored = self._read()
            if stored["machines"].pop(contract_id, None) is None:
                return False
            write_json(self._file, stored)
            return True

    def _read(self) -> dict[str, Any]:
        stored: dict[str, Any] = read_json(self._file, {"next": FIRST_CONTRACT, "machines": {}})
        return stored
