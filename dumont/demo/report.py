"""What happened, as JSON: the timeline, the seconds of each step, the sizes, the money and the comparison."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dumont.client.units import printable

from .compare import Difference
from .inventory import Inventory
from .story import Story

SHOWN = 20
_REPORTED = 1000


@dataclass(slots=True)
class Report:
    """Filled as the demo goes; what was not reached is empty. ``seconds``: of each phase, by name, in order.

    ``result``: ``identical``, ``different``, ``failed`` or ``interrupted``.
    """

    result: str = "interrupted"
    error: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    machines: list[dict[str, Any]] = field(default_factory=list)
    operations: list[dict[str, Any]] = field(default_factory=list)
    bytes_stored: int = 0
    snapshots: list[dict[str, Any]] = field(default_factory=list)
    not_copied: list[str] = field(default_factory=list)
    before: Inventory | None = None
    differences: list[Difference] = field(default_factory=list)

    def to_json(self, story: Story) -> dict[str, Any]:
        before = self.before or Inventory()
        return {
            "result": self.result,
            "error": self.error,
            "started_at": datetime.fromtimestamp(story.started, UTC).isoformat(),
            "seconds_total": round(story.elapsed, 3),
            "seconds": {name: round(seconds, 3) for name, seconds in self.seconds.items()},
            "workspace": before.counts(),
            "bytes_stored": self.bytes_stored,
            "snapshots": self.snapshots,
            "not_copied": self.not_copied,
            "machines": self.machines,
            "operations": [_operation(operation) for operation in self.operations],
            "comparison": {
                "compared": len(before.entries),
                "differences_total": len(self.differences),
                "differences": [found.to_json() for found in self.differences[:_REPORTED]],
                "skipped": {printable(path): kind for path, kind in sorted(before.skipped.items())},
            },
            "timeline": story.timeline,
        }

    def write(self, path: Path, story: Story) -> None:
        path.write_text(json.dumps(self.to_json(story), indent=1) + "\n")

    def table(self) -> str:
        """The seconds of every phase and of every step of every operation."""
        rows = [f"  {name:<34}{seconds:8.2f} s" for name, seconds in self.seconds.items()]
        for operation in self.operations:
            facts = _operation(operation)
            rows.append(
                f"  {facts['kind']} {facts['id']:<{33 - len(facts['kind'])}}{facts['seconds']:8.2f} s"
            )
            rows += [f"    {step['step']:<32}{step['seconds']:8.2f} s" for step in facts["steps"]]
        return "\n".join(rows)


def _operation(operation: dict[str, Any]) -> dict[str, Any]:
    took = datetime.fromisoformat(operation["finished_at"]) - datetime.fromisoformat(operation["started_at"])
    names = ("id", "kind", "reason", "result", "progress")
    steps = [{name: step[name] for name in ("step", "seconds", "waits")} for step in operation["steps"]]
    seconds = {"seconds": round(took.total_seconds(), 3), "steps": steps}
    return {name: operation[name] for name in names} | seconds
