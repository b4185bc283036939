"""Compares two inventories and names every difference."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from dumont.client.units import printable

from .inventory import Entry, Inventory

_ASPECTS = {
    "kind": "kind",
    "content": "content",
    "size": "size",
    "mode": "mode",
    "mtime_ns": "modification time",
    "target": "link target",
    "linked_to": "hard link",
    "uid": "owner",
    "gid": "group",
    "xattrs": "extended attributes",
}


@dataclass(frozen=True, slots=True)
class Difference:
    """``what`` is an aspect, ``missing`` or ``extra``."""

    path: str
    what: str
    before: str = ""
    after: str = ""

    def __str__(self) -> str:
        change = f": {self.before} became {self.after}" if self.before or self.after else ""
        return f"{printable(self.path)}: {self.what}{change}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"path": printable(self.path)}


def compare(before: Inventory, after: Inventory) -> list[Difference]:
    """Every difference, by path; what is ``skipped`` in either does not count."""
    found: list[Difference] = []
    for path in sorted(before.entries.keys() | after.entries.keys()):
        old, new = before.entries.get(path), after.entries.get(path)
        if new is None:
            found.append(Difference(path, "missing"))
        elif old is None:
            found.append(Difference(path, "extra"))
        elif old != new:
            found += _changes(path, old, new)
    return found


def _changes(path: str, old: Entry, new: Entry) -> list[Difference]:
    return [
        Difference(path, what, _text(name, getattr(old, name)), _text(name, getattr(new, name)))
        for name, what in _ASPECTS.items()
        if getattr(old, name) != getattr(new, name)
    ]


def _text(name: str, value: Any) -> str:
    if name == "mode":
        return f"{value:04o}"
    return printable(str(value)) or "nothing"
