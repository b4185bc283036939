"""The settings choose the store, and the web process serves objects only where it keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
from django.test import RequestFactory

from hibernation.api.store import store_object
from hibernation.snapshots.filesystem import FilesystemStore
from hibernation.snapshots.registry import get_store
from hibernation.snapshots.s3 import S3Store
from hibernation.snapshots.store import Promises


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    get_store.cache_clear()
    yield
    get_store.cache_clear()


@pytest.fixture
def s3_settings(settings: Any) -> Any:
    settings.DUMONT_STORE = "s3"
    settings.DUMONT_S3_BUCKET = "packs"
    settings.DUMONT_S3_ENDPOINT = "https://store.example"
    settings.DUMONT_S3_REGION = "auto"
    settings.DUMONT_S3_ACCESS_KEY_ID = "id"
    settings.DUMONT_S3_SECRET_ACCESS_KEY = "secret"
    settings.DUMONT_S3_PREFIX = "dumont"
    settings.DUMONT_S3_PATH_STYLE = True
    settings.DUMONT_S3_CHECKSUM = "none"
    settings.DUMONT_S3_WRITE_ONCE = False
    return settings


def test_without_settings_objects_are_files() -> None:
    assert isinstance(get_store(), FilesystemStore)
    assert get_store() is get_store()


def test_the_settings_reach_the_bucket(s3_settings: Any) -> None:
    store = get_store()
    assert isinstance(store, S3Store)
    with closing(store):
        assert store.promises == Promises(crc32=False, once=False)
        url = store.sign_get("k", expires_in=timedelta(minutes=1)).url
    assert url.startswith("https://store.example/packs/dumont/k?")


def test_the_web_process_serves_no_objects_of_a_bucket(s3_settings: Any) -> None:
    with closing(get_store()):  # type: ignore[type-var]
        reply = store_object(RequestFactory().get("/api/store/k"), "k")
    assert reply.status_code == 404
