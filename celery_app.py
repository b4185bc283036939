"""The Celery application. Settings come from ``dumont.settings.CELERY``; tasks from ``hibernation.tasks``."""

import os
from logging.config import dictConfig
from typing import Any

from celery import Celery
from celery.signals import setup_logging

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dumont.settings")

app = Celery("dumont")
app.config_from_object("dumont.celery_settings")
app.autodiscover_tasks(["hibernation"])


@setup_logging.connect
def log_as_set(**_: Any) -> None:
    """Celery's own set-up would add handlers that hide no secrets, and another level."""
    from django.conf import settings

    dictConfig(settings.LOGGING)
