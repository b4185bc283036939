"""The Celery application. Settings come from ``dumont.settings.CELERY``; tasks from ``hibernation.tasks``."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dumont.settings")

app = Celery("dumont")
app.config_from_object("dumont.celery_settings")
app.autodiscover_tasks(["hibernation"])
