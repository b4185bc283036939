"""The local provider's bill: one line for each thing that starts, ends or asks to end a rental. Append only."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ENDS = ("destroyed", "vanished")


def write_line(root: Path, event: str, contract_id: str, label: str = "", price: str = "") -> None:
    """Adds ``launched``, ``destroy_called``, ``destroyed`` or ``vanished``. One write, so lines never mix."""
    line = {"event": event, "contract": contract_id, "label": label, "price": price}
    line["at"] = datetime.now(UTC).isoformat()
    path = _file(root)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, (json.dumps(line) + "\n").encode())
    finally:
        os.close(descriptor)


def read_ledger(root: Path) -> list[dict[str, Any]]:
    """Every line, oldest first: ``event``, ``contract``, ``label``, ``price`` (USD/h), ``at`` (UTC, ISO 8601)."""
    try:
        text = _file(root).read_text()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in text.splitlines()]


def billing_now(root: Path) -> list[str]:
    """The contracts that cost money now, oldest first: launched and not ended."""
    billing: dict[str, None] = {}
    for line in read_ledger(root):
        if line["event"] == "launched":
            billing[line["contract"]] = None
        elif line["event"] in ENDS:
            billing.pop(line["contract"], None)
    return list(billing)


def _file(root: Path) -> Path:
    return root / "provider" / "ledger.jsonl"
