"""Was anything written to a workspace since its last snapshot? One walk, compared with the state file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agents.snapshot.state import differences, load_state
from agents.snapshot.walk import walk

_SAMPLE = 10


def dirty(workspace: str, state_file: Path) -> dict[str, Any]:
    """``{"dirty", "changed", "sample"}``. Doubt is dirty: no state file, a damaged one, an unreadable entry."""
    state = load_state(state_file)
    if state is None:
        return {"dirty": True, "changed": 0, "sample": ["no usable state file"]}
    tree = walk(workspace, state.book, count_left_out=False)
    changed = differences(state, tree)
    if tree.unreadable:
        changed += [path for path, why in tree.skipped if why.startswith("unreadable")]
    return {"dirty": bool(changed), "changed": len(changed), "sample": changed[:_SAMPLE]}
