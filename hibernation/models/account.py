"""What is known of the account with a provider: how fresh its list is, what it spends, how long its credit lasts."""

from __future__ import annotations

from decimal import Decimal

from django.db import models
from django.db.models import Q

from hibernation.domain.states import CreditLevel
from hibernation.models.choices import choices, values


class ProviderAccount(models.Model):
    """One provider's. ``listed_at``: when the last complete list was asked for; ``list_error``: why none came since.

    ``burn_per_hour``: USD, of everything that the list shows running, ours or not: all live on one credit.
    """

    provider = models.CharField(primary_key=True, max_length=32)
    listed_at = models.DateTimeField(null=True, blank=True)
    list_error = models.TextField(blank=True)
    burn_per_hour = models.DecimalField(max_digits=12, decimal_places=4, default=Decimal(0))
    credit = models.DecimalField(max_digits=12, decimal_places=4, null=True, blank=True, help_text="USD")
    credit_at = models.DateTimeField(null=True, blank=True)
    credit_asked_at = models.DateTimeField(null=True, blank=True)
    level = models.CharField(max_length=16, choices=choices(CreditLevel), default=CreditLevel.UNKNOWN)
    prices_asked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(name="account_level_known", condition=Q(level__in=values(CreditLevel)))
        ]

    def __str__(self) -> str:
        return self.provider
