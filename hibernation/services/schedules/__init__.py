"""Schedules: kept, mirrored to beat, fired when due, asked until each occurrence has come to something.

Lock order: instance, then operation, then schedule and its runs. Times here are those of ``clock.schedule_now``.
"""

from hibernation.services.schedules.changing import delete_schedule, put_schedule
from hibernation.services.schedules.mirroring import sync_schedules
from hibernation.services.schedules.running import run_due_schedules, run_schedule

__all__ = [
    "delete_schedule",
    "put_schedule",
    "run_due_schedules",
    "run_schedule",
    "sync_schedules",
]
