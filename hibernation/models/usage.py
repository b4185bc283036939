"""What each rental cost: one interval per machine, opened at launch and closed when it is confirmed gone."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q


class UsageInterval(models.Model):
    """Billing of one machine. Append-only: opened once, closed once. Prices are USD an hour."""

    machine = models.OneToOneField("hibernation.Machine", on_delete=models.PROTECT, related_name="usage")
    instance = models.ForeignKey(
        "hibernation.Instance", null=True, blank=True, on_delete=models.PROTECT, related_name="usage"
    )
    price_per_hour = models.DecimalField(max_digits=10, decimal_places=4)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="usage_ends_after_it_starts",
                condition=Q(ended_at__isnull=True) | Q(ended_at__gte=F("started_at")),
            )
        ]

    def __str__(self) -> str:
        return f"usage of {self.machine_id}"
