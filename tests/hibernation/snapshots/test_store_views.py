"""The built-in store over HTTP, as a machine meets it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from django.test import RequestFactory

from agents.snapshot.checksum import crc32_of
from hibernation.api.store import store_object
from hibernation.snapshots.filesystem import FilesystemStore
from hibernation.snapshots.registry import get_store

# The end of a response looks after Django's connections, whether the view used one or not.
pytestmark = pytest.mark.django_db
DATA = b"0123456789" * 300_000
CRC32 = crc32_of([DATA])
MINUTE = timedelta(minutes=1)


@pytest.fixture
def store(tmp_path: Path, settings: Any) -> Iterator[FilesystemStore]:
    settings.DUMONT_STORE_ROOT = tmp_path
    settings.DUMONT_BASE_URL = "http://testserver"
    settings.DUMONT_STORE_SECRET = b"s" * 32
    get_store.cache_clear()
    yield get_store()
    get_store.cache_clear()


def call(method: str, url: str, data: bytes = b"", **headers: str) -> tuple[int, Any, bytes]:
    request = RequestFactory().generic(
        method, url, data, content_type="application/octet-stream", headers=headers
    )
    response = store_object(request, request.path.removeprefix("/api/store/"))
    body = b"".join(response) if response.streaming else response.content
    response.close()
    return response.status_code, response.headers, body


def put(store: FilesystemStore, data: bytes = DATA) -> int:
    return call("PUT", store.sign_put("k/1", size=len(DATA), crc32=CRC32, expires_in=MINUTE).url, data)[0]


def test_an_object_goes_in_and_comes_out(store: FilesystemStore) -> None:
    assert put(store) == 201
    url = store.sign_get("k/1", expires_in=MINUTE).url
    status, headers, body = call("GET", url)
    assert (status, headers["Content-Length"], body) == (200, "3000000", DATA)
    assert call("GET", url, Range="bytes=10-19")[::2] == (206, b"0123456789")
    status, headers, body = call("HEAD", url)
    assert (status, headers["Content-Length"], body) == (200, "3000000", b"")


def test_a_body_cut_short_stores_nothing(store: FilesystemStore) -> None:
    signed = store.sign_put("k/1", size=len(DATA), crc32=CRC32, expires_in=MINUTE)
    request = RequestFactory().put(signed.url, b"", content_type="application/octet-stream")
    request.META["CONTENT_LENGTH"] = str(len(DATA))
    request._stream = BytesIO(DATA[:1000])
    assert store_object(request, "k/1").status_code == 400
    assert store.head("k/1") is None


@pytest.mark.parametrize(
    ("url", "status"), [("/api/store/k/1", 403), ("/api/store/.hidden?signature=x", 403)]
)
def test_without_a_signature_nothing_is_told(store: FilesystemStore, url: str, status: int) -> None:
    for method in ("GET", "HEAD", "PUT"):
        assert call(method, url)[0] == status


def test_a_missing_object_an_impossible_range_and_other_methods(store: FilesystemStore) -> None:
    url = store.sign_get("k/1", expires_in=MINUTE).url
    assert call("GET", url)[0] == 404
    put(store)
    assert call("GET", url, Range="bytes=9999999-")[0] == 416
    assert call("DELETE", url)[0] == 405
    assert put(store, DATA[:-1]) == 400
