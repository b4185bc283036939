"""What each rental cost: intervals without a gap from its launch until it is confirmed gone, one for each price."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q


class UsageInterval(models.Model):
    """Billing of one machine, or while it is ``stopped`` of its disk. Append-only: opened once, closed once.

    Prices are USD an hour; 0 for a disk whose price nobody tells.
    """

    machine = models.ForeignKey("hibernation.Machine", on_delete=models.PROTECT, related_name="usage")
    instance = models.ForeignKey(
        "hibernation.Instance", null=True, blank=True, on_delete=models.PROTECT, related_name="usage"
    )
    price_per_hour = models.DecimalField(max_digits=10, decimal_places=4)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)
    stopped = models.BooleanField(default=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="one_open_usage_per_machine", fields=["machine"], condition=Q(ended_at__isnull=True)
            ),
            models.CheckConstraint(
                name="usage_ends_after_it_starts",
                condition=Q(ended_at__isnull=True) | Q(ended_at__gte=F("started_at")),
            ),
        ]

    def __str__(self) -> str:
        return f"usage of {self.machine_id}"
