"""The ``local`` provider: rents real processes on this host, so that everything can be tried without renting."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings

from hibernation.providers.local.faults import set_faults
from hibernation.providers.local.ledger import billing_now, read_ledger
from hibernation.providers.local.provider import LocalProvider

__all__ = ["LocalProvider", "billing_now", "from_settings", "read_ledger", "set_faults"]


def from_settings() -> LocalProvider:
    """The local provider of this installation, under ``settings.DUMONT_LOCAL_PROVIDER_ROOT``."""
    return LocalProvider(Path(settings.DUMONT_LOCAL_PROVIDER_ROOT))
