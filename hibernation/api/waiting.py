"""``?wait=SECONDS`` and ``Prefer: wait=SECONDS``: hold the answer until the operation ends, within bounds."""

from __future__ import annotations

import math
import re
import time

from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from hibernation.api.places import WAITS
from hibernation.domain.states import TERMINAL_OPERATION_STATES
from hibernation.models import Operation

LONGEST_SECONDS = 300.0
PAUSE_SECONDS = 0.2


def asked_to_wait(request: Request) -> float:
    """Seconds the caller wants to wait, 0 for none, never more than five minutes."""
    raw = request.query_params.get("wait")
    if raw is None:
        preferred = re.search(r"\bwait=([0-9.]+)", request.headers.get("Prefer", ""))
        raw = preferred.group(1) if preferred else "0"
    try:
        seconds = float(raw)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds) or seconds < 0:
        raise ValidationError({"wait": "A number of seconds."})
    return min(seconds, LONGEST_SECONDS)


def wait_for(operation_id: int, seconds: float) -> Operation:
    """The operation when it ended or the time is over. With too many waiting already, as it is now."""
    give = WAITS.take()
    if give is None:
        return Operation.objects.get(pk=operation_id)
    try:
        return _poll(operation_id, time.monotonic() + seconds)
    finally:
        give()


def _poll(operation_id: int, until: float) -> Operation:
    while True:
        operation = Operation.objects.select_related("machine").get(pk=operation_id)
        if operation.state in TERMINAL_OPERATION_STATES or time.monotonic() >= until:
            return operation
        time.sleep(PAUSE_SECONDS)
