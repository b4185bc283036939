"""What is remembered of hosts: where machines failed, what could not be rented, how fast the network really is."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from hibernation.domain.offers import Verdict
from hibernation.models.choices import choices, values


class Host(models.Model):
    """One host of one provider of which something was seen; the fields are those of ``domain.offers.HostFacts``.

    Shared by all instances. To forget a host, delete its row.
    """

    provider = models.CharField(max_length=32)
    host = models.CharField(max_length=128)
    operator = models.CharField(max_length=128, blank=True)
    verdict = models.CharField(max_length=16, choices=choices(Verdict), blank=True)
    reason = models.TextField(blank=True)
    judged_at = models.DateTimeField(null=True, blank=True)
    avoid_until = models.DateTimeField(null=True, blank=True)
    failures = models.FloatField(
        default=0.0, help_text="as of failed_at; they count the less the older they are"
    )
    failed_at = models.DateTimeField(null=True, blank=True)
    download_mbps = models.FloatField(null=True, blank=True, help_text="Mbit/s measured, as of measured_at")
    measured_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(name="one_row_per_host", fields=["provider", "host"]),
            models.CheckConstraint(name="host_has_a_name", condition=~Q(host="")),
            models.CheckConstraint(
                name="host_verdict_known", condition=Q(verdict__in=["", *values(Verdict)])
            ),
        ]

    def __str__(self) -> str:
        return f"{self.provider} {self.host}"
