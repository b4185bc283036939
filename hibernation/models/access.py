"""Tokens of people and scripts, and those that enrol one machine. Only their SHA-256 is stored; each is shown once."""

from __future__ import annotations

from django.conf import settings
from django.db import models


class ApiToken(models.Model):
    """A bearer token ``dmt_…``. Acts as ``user``; dies when revoked or expired."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=100)
    digest = models.CharField(max_length=64, unique=True)
    prefix = models.CharField(max_length=12, blank=True, help_text="how it begins, to tell it from others")
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = "API token"

    def __str__(self) -> str:
        return self.name


class Enrolment(models.Model):
    """The right to have one machine adopted, for whoever shows its token ``dme_…``. Dies when claimed or expired."""

    digest = models.CharField(max_length=64, unique=True)
    provider = models.CharField(max_length=32)
    actor = models.CharField(max_length=100)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    claimed_at = models.DateTimeField(null=True, blank=True)
    instance = models.ForeignKey(
        "hibernation.Instance", null=True, blank=True, on_delete=models.PROTECT, related_name="enrolments"
    )

    def __str__(self) -> str:
        return f"enrolment {self.pk} for {self.provider}"
