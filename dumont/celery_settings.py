"""Celery's settings. The numbers are measured: defaults redeliver a lost step after minutes, these within seconds."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings

VISIBILITY_SECONDS = 900

broker_url = settings.DUMONT_BROKER_URL
broker_connection_retry_on_startup = True
broker_transport_options = {
    "visibility_timeout": VISIBILITY_SECONDS,
    "unacked_restore_interval": 1,
    "unacked_restore_throttle": 1,
    "global_keyprefix": f"dumont-{settings.DUMONT_INSTALLATION}-",
    "socket_timeout": 10,
    "socket_connect_timeout": 2,
    "health_check_interval": 25,
}
visibility_timeout = VISIBILITY_SECONDS
task_acks_late = True
task_reject_on_worker_lost = True
task_ignore_result = True
task_serializer = "json"
accept_content = ["json"]
task_soft_time_limit = 240
task_time_limit = 300
# A request must answer within a second when the broker is down: the row is enough, the reconciler finds it.
task_publish_retry_policy = {
    "max_retries": 2,
    "interval_start": 0.05,
    "interval_step": 0.1,
    "interval_max": 0.2,
}
task_default_queue = "control"
worker_prefetch_multiplier = 1
worker_max_tasks_per_child = 2000
worker_soft_shutdown_timeout = 5
worker_enable_remote_control = False
worker_hijack_root_logger = False
timezone = "UTC"
# After a pause of beat, an entry of a schedule pokes only for what was due a moment ago; the tick settles the rest.
beat_cron_starting_deadline = 60


def _tick(task: str, every: timedelta, queue: str = "control") -> dict[str, Any]:
    # A tick that could not be delivered before the next one is due is worth nothing.
    seconds = max(2.0, every.total_seconds() * 2)
    return {"task": task, "schedule": every, "options": {"queue": queue, "expires": seconds}}


beat_schedule = {
    "sweep": _tick("hibernation.sweep", settings.DUMONT_SWEEP_INTERVAL),
    "reconcile": _tick("hibernation.reconcile", settings.DUMONT_RECONCILE_INTERVAL),
    "run schedules": _tick("hibernation.run_schedules", settings.DUMONT_SCHEDULE_INTERVAL),
    "drive due operations": _tick("hibernation.drive_due", settings.DUMONT_DRIVE_INTERVAL),
    "prove what was asked": _tick("hibernation.prove_asked", timedelta(seconds=10), "transfer"),
    "collect garbage": _tick("hibernation.collect", settings.DUMONT_COLLECT_INTERVAL, "transfer"),
}
