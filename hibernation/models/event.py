"""Events: what happened, in the past tense, with who did it and why. Append-only."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from hibernation.domain.states import EventType
from hibernation.models.choices import choices, values


class Event(models.Model):
    """Written in the same transaction as the change it tells, never changed. ``reason`` is a sentence for people.

    ``status_from``/``status_to`` are filled by status changes, so that the log replays to the present status.
    """

    instance = models.ForeignKey(
        "hibernation.Instance",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="events",
        db_index=False,
    )
    operation = models.ForeignKey(
        "hibernation.Operation", null=True, blank=True, on_delete=models.PROTECT, related_name="events"
    )
    event_type = models.CharField(max_length=32, choices=choices(EventType))
    timestamp = models.DateTimeField()
    status_from = models.CharField(max_length=16, blank=True)
    status_to = models.CharField(max_length=16, blank=True)
    gpu_utilization = models.FloatField(null=True, blank=True)
    snapshot_name = models.CharField(max_length=128, blank=True)
    reason = models.TextField()
    actor = models.CharField(max_length=100, default="system")
    data = models.JSONField(default=dict, blank=True)

    class Meta:
        db_table = "hibernation_events"
        indexes = [models.Index(fields=["instance", "-id"], name="event_of_instance")]
        constraints = [
            models.CheckConstraint(name="event_type_known", condition=Q(event_type__in=values(EventType)))
        ]

    def __str__(self) -> str:
        return f"{self.event_type} {self.instance_id}"
