"""The scheduler that beat runs: django-celery-beat's, with one query of it put right.

celery -A celery_app beat -S dumont.beat:Scheduler
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django_celery_beat.models import CrontabSchedule
from django_celery_beat.schedulers import DatabaseScheduler


class Scheduler(DatabaseScheduler):  # type: ignore[misc]
    """2.9.0 asks for the distinct zones in the table's order, which makes every row distinct: with ten thousand
    crontabs each reading of the entries, also of disabled ones, then takes twenty seconds of one long CASE.
    """

    def _get_unique_timezone_names(self) -> Iterable[Any]:
        zones: Iterable[Any] = (
            CrontabSchedule.objects.order_by().values_list("timezone", flat=True).distinct()
        )
        return zones
