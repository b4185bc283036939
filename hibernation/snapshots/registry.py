"""Which store this installation uses, from its settings."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from django.conf import settings

from hibernation.snapshots.filesystem import FilesystemStore


@lru_cache(maxsize=1)
def get_store() -> FilesystemStore:
    """The one store, made at first use. Tests that change the settings call ``get_store.cache_clear()``."""
    return FilesystemStore(
        Path(settings.DUMONT_STORE_ROOT), settings.DUMONT_BASE_URL, settings.DUMONT_STORE_SECRET
    )
