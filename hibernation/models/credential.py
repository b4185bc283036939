"""The key to a provider's account, as somebody entered it in the console."""

from __future__ import annotations

from django.db import models


class ProviderCredential(models.Model):
    """One provider's, sealed by the installation's key; nothing shows it again. The environment's key goes first."""

    provider = models.CharField(primary_key=True, max_length=32)
    sealed = models.BinaryField(max_length=4096)
    sealed_by = models.CharField(max_length=16, help_text="the fingerprint of the key")
    changed_at = models.DateTimeField()
    changed_by = models.CharField(max_length=100)

    def __str__(self) -> str:
        return f"key of {self.provider}"
