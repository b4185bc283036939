"""Which store this installation uses, from its settings."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from django.conf import settings

from hibernation.snapshots.filesystem import FilesystemStore
from hibernation.snapshots.store import Store


@lru_cache(maxsize=1)
def get_store() -> Store:
    """The one store, made at first use. Tests that change the settings call ``get_store.cache_clear()``."""
    if settings.DUMONT_STORE == "s3":
        return _s3()
    return FilesystemStore(
        Path(settings.DUMONT_STORE_ROOT), settings.DUMONT_BASE_URL, settings.DUMONT_STORE_SECRET
    )


def _s3() -> Store:
    # Half a second and 30 MB that a process without S3 need not spend.
    from hibernation.snapshots.s3 import S3Config, S3Store

    return S3Store(
        S3Config(
            bucket=settings.DUMONT_S3_BUCKET,
            endpoint=settings.DUMONT_S3_ENDPOINT,
            region=settings.DUMONT_S3_REGION,
            access_key_id=settings.DUMONT_S3_ACCESS_KEY_ID,
            secret_access_key=settings.DUMONT_S3_SECRET_ACCESS_KEY,
            prefix=settings.DUMONT_S3_PREFIX,
            path_style=settings.DUMONT_S3_PATH_STYLE,
            crc32=settings.DUMONT_S3_CHECKSUM == "crc32",
            write_once=settings.DUMONT_S3_WRITE_ONCE,
        )
    )
