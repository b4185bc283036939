"""How long a wake usually takes: by so much one starts early that has to be ready by a time."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.db import connection

from hibernation.domain.states import OperationKind, OperationState
from hibernation.domain.timetable import LONGEST_LEAD
from hibernation.services.schedules.clock import scaled

_LATEST = 9
_OF_ALL = 500
_UNKNOWN = timedelta(minutes=7)
"""What a wake is said to take where none was ever seen."""

_OF_EACH = """
SELECT wished.id, percentile_cont(0.5) WITHIN GROUP (ORDER BY latest.took)
FROM unnest(%(instances)s::text[]) AS wished(id)
CROSS JOIN LATERAL (
    SELECT finished_at - created_at AS took FROM hibernation_operation
    WHERE instance_id = wished.id AND kind = %(wake)s AND state = %(succeeded)s AND snapshot_id IS NOT NULL
    ORDER BY id DESC LIMIT %(most)s
) AS latest
GROUP BY wished.id
"""
_OF_THE_INSTALLATION = """
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY took) FROM (
    SELECT finished_at - created_at AS took FROM hibernation_operation
    WHERE kind = %(wake)s AND state = %(succeeded)s AND snapshot_id IS NOT NULL
    ORDER BY id DESC LIMIT %(most)s
) AS latest
"""


def leads_of(instance_ids: Iterable[str]) -> dict[str, timedelta]:
    """The median of each instance's last wakes, else of the installation's, in whole minutes, rounded up."""
    wished = list(instance_ids)
    if not wished:
        return {}
    given: dict[str, Any] = {
        "instances": wished,
        "wake": OperationKind.WAKE,
        "succeeded": OperationState.SUCCEEDED,
    }
    with connection.cursor() as cursor:
        cursor.execute(_OF_EACH, {**given, "most": _LATEST})
        own = dict(cursor.fetchall())
        usual = _UNKNOWN
        if len(own) < len(wished):
            cursor.execute(_OF_THE_INSTALLATION, {**given, "most": _OF_ALL})
            usual = cursor.fetchone()[0] or _UNKNOWN
    return {instance_id: _whole_minutes(scaled(own.get(instance_id, usual))) for instance_id in wished}


def _whole_minutes(took: timedelta) -> timedelta:
    return min(timedelta(minutes=math.ceil(took / timedelta(minutes=1))), LONGEST_LEAD)
