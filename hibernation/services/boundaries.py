"""Where a test may stop a step: at its boundaries, so that a process can be killed exactly there.

Does nothing unless ``DUMONT_BOUNDARY_DIR`` names a folder. The settings do not know that name: no installation sets it.
"""

from __future__ import annotations

import os
import time
from enum import StrEnum
from pathlib import Path

from hibernation.models import Operation

_LONGEST_SECONDS = 60.0
_TICK = 0.01


class Boundary(StrEnum):
    """``claimed``: before the effect. ``performed``: after it, unsettled. ``settled``: before the next message."""

    CLAIMED = "claimed"
    PERFORMED = "performed"
    SETTLED = "settled"


def reached(operation_id: int, step: str, boundary: Boundary) -> None:
    """Say that a worker is here, as the file ``<instance>.<kind>.<step>.<boundary>``.

    While there is a file of that name with ``.pause`` after it, wait; at most a minute.
    """
    folder = os.environ.get("DUMONT_BOUNDARY_DIR")
    if folder:
        instance, kind = Operation.objects.values_list("instance_id", "kind").get(pk=operation_id)
        _stop(Path(folder) / f"{instance}.{kind}.{step}.{boundary}")


def _stop(place: Path) -> None:
    pause = place.with_name(f"{place.name}.pause")
    deadline = time.monotonic() + _LONGEST_SECONDS
    place.touch()
    while pause.exists() and time.monotonic() < deadline:
        time.sleep(_TICK)
