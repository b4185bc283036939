"""GPU utilisation history: one row per instance and hour, one slot per minute."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models

UNKNOWN = -1


class ReadingHour(models.Model):
    """Per minute the maximum over GPUs in whole per cent; -1 means unknown or no reading. Thirteen times smaller
    than a row per reading, and a week's chart is one index range."""

    instance = models.ForeignKey(
        "hibernation.Instance", on_delete=models.CASCADE, related_name="reading_hours"
    )
    hour_at = models.DateTimeField()
    gpu_max = ArrayField(models.SmallIntegerField(), size=60)

    class Meta:
        constraints = [
            models.UniqueConstraint(name="one_row_per_instance_and_hour", fields=["instance", "hour_at"])
        ]

    def __str__(self) -> str:
        return f"{self.instance_id} {self.hour_at:%Y-%m-%d %H}h"
