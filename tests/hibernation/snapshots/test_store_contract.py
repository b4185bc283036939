"""What every store promises, as the control plane and a machine with a signed URL meet it: over HTTP."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler

from agents.snapshot.checksum import crc32_of
from hibernation.api import store as views
from hibernation.domain.errors import StoreError
from hibernation.snapshots.filesystem import FilesystemStore
from hibernation.snapshots.s3 import S3Store
from hibernation.snapshots.store import ObjectInfo, ObjectMissing, SignedRequest, Store
from tests.fakes.s3 import Bucket, config_of, serve_s3

pytestmark = pytest.mark.network

DATA = bytes(range(256)) * 50
CRC32 = crc32_of([DATA])
KEY = "tenant/packs/0a1b-2.c_d"
MINUTE = timedelta(minutes=1)


@dataclass
class Place:
    """A store, and how to let time pass where its URLs are checked."""

    store: Store
    wait: Callable[[timedelta], None]


class _Quiet(WSGIRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def filesystem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    clock = [1_000_000.0]
    server = ThreadedWSGIServer(("127.0.0.1", 0), _Quiet, allow_reuse_address=False)
    server.set_app(WSGIHandler())
    url = f"http://127.0.0.1:{server.server_address[1]}"
    store = FilesystemStore(tmp_path, url, b"s" * 32, now=lambda: clock[0])
    monkeypatch.setattr(views, "get_store", lambda: store)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield Place(store, lambda delay: clock.__setitem__(0, clock[0] + delay.total_seconds()))
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def served_s3() -> Iterator[tuple[Bucket, S3Store]]:
    with serve_s3() as bucket, closing(S3Store(config_of(bucket, prefix="dumont/eu"))) as store:
        yield bucket, store


@pytest.fixture(scope="module")
def served_b2() -> Iterator[tuple[Bucket, S3Store]]:
    with (
        serve_s3(plain=True) as bucket,
        closing(S3Store(config_of(bucket, crc32=False, write_once=False))) as store,
    ):
        yield bucket, store


@pytest.fixture
def s3(served_s3: tuple[Bucket, S3Store]) -> Place:
    return emptied(*served_s3)


@pytest.fixture
def b2(served_b2: tuple[Bucket, S3Store]) -> Place:
    return emptied(*served_b2)


def emptied(bucket: Bucket, store: S3Store) -> Place:
    bucket.objects.clear()
    bucket.skew = timedelta()
    return Place(store, lambda delay: setattr(bucket, "skew", bucket.skew + delay))


@pytest.fixture(params=["filesystem", "s3", "b2"])
def place(request: pytest.FixtureRequest) -> Place:
    place: Place = request.getfixturevalue(request.param)
    return place


@pytest.fixture
def store(place: Place) -> Store:
    return place.store


def send(method: str, signed: SignedRequest, body: bytes | None = None, **extra: str) -> tuple[int, bytes]:
    """What a machine does with a signed request: its headers, a Content-Length, nothing else."""
    address = urlsplit(signed.url)
    with closing(http.client.HTTPConnection(address.netloc, timeout=10)) as connection:
        connection.request(method, f"{address.path}?{address.query}", body, {**signed.headers, **extra})
        with connection.getresponse() as reply:
            return reply.status, reply.read()


def sign(store: Store, key: str = KEY, data: bytes = DATA) -> SignedRequest:
    return store.sign_put(key, size=len(data), crc32=crc32_of([data]), expires_in=MINUTE)


def put(store: Store, key: str = KEY, data: bytes = DATA) -> int:
    """Stored, and out of the machine's reach."""
    status, _ = send("PUT", sign(store, key, data), data)
    store.settle(key)
    return status


def test_what_was_signed_is_stored_and_read_back(store: Store) -> None:
    assert put(store) in (200, 201)
    assert send("GET", store.sign_get(KEY, expires_in=MINUTE)) == (200, DATA)
    with store.open(KEY) as file:
        assert file.read(10) == DATA[:10]
        assert file.read() == DATA[10:]


def test_an_empty_object_is_an_object(store: Store) -> None:
    assert put(store, data=b"") in (200, 201)
    with store.open(KEY) as file:
        assert file.read() == b""
    assert store.head(KEY) is not None


@pytest.mark.parametrize("body", [DATA + b"!", DATA[:-1], b""], ids=["longer", "shorter", "empty"])
def test_another_length_is_refused(store: Store, body: bytes) -> None:
    assert 400 <= send("PUT", sign(store), body)[0] < 500
    assert store.head(KEY) is None


def test_other_bytes_are_refused_where_that_is_promised(store: Store) -> None:
    status = send("PUT", sign(store), DATA[:-1] + b"?")[0]
    store.settle(KEY)
    assert status == (400 if store.promises.crc32 else 200)
    assert (store.head(KEY) is None) is store.promises.crc32


def test_a_url_expires(place: Place) -> None:
    putting, getting = sign(place.store), place.store.sign_get(KEY, expires_in=MINUTE)
    place.wait(timedelta(seconds=62))
    assert send("PUT", putting, DATA)[0] == 403
    assert send("GET", getting)[0] == 403
    place.wait(-timedelta(seconds=62))
    assert place.store.head(KEY) is None


def test_a_url_is_for_one_key_and_one_method(store: Store) -> None:
    put(store)
    putting, getting = sign(store, "tenant/packs/other"), store.sign_get(KEY, expires_in=MINUTE)
    for method, signed, body in (("GET", putting, None), ("PUT", getting, DATA), ("DELETE", putting, None)):
        assert send(method, signed, body)[0] in (403, 405)
    assert send("PUT", SignedRequest(putting.url.replace("other", "else"), putting.headers), DATA)[0] == 403
    assert send("GET", SignedRequest(getting.url.replace("0a1b", "0a1c"), {}))[0] == 403
    assert [info.key for info in store.list("")] == [KEY]


def test_the_limits_in_a_url_cannot_be_moved(store: Store) -> None:
    for signed in (sign(store), store.sign_get(KEY, expires_in=MINUTE)):
        method, body = ("PUT", DATA) if signed.headers or "size=" in signed.url else ("GET", None)
        for name in ("expires", "X-Amz-Expires", "size", "crc32"):
            changed = SignedRequest(signed.url.replace(f"{name}=", f"{name}=1"), signed.headers)
            if changed.url != signed.url:
                assert send(method, changed, body)[0] == 403
    assert store.head(KEY) is None


def test_an_object_is_never_replaced(store: Store) -> None:
    """Where the store takes the other bytes, they do not become the object."""
    put(store)
    status = put(store, data=b"other bytes")
    assert (status in (409, 412)) is store.promises.once
    assert store.read(KEY, 0, len(DATA)) == DATA


def test_what_is_not_settled_is_no_object_where_it_can_be_replaced(store: Store) -> None:
    assert send("PUT", sign(store), DATA)[0] in (200, 201)
    assert (store.head(KEY) is None) is not store.promises.once
    assert len(list(store.list(""))) == int(store.promises.once)
    store.settle(KEY)
    assert [info.key for info in store.list("")] == [KEY]


def test_nothing_is_settled_where_nothing_was_sent(store: Store) -> None:
    store.settle(KEY)
    assert store.head(KEY) is None


def test_what_was_sent_goes_with_the_object(b2: Place, served_b2: tuple[Bucket, S3Store]) -> None:
    signed = sign(b2.store)
    send("PUT", signed, DATA)
    b2.store.delete(KEY)
    assert served_b2[0].objects == {}
    put(b2.store)
    send("PUT", signed, DATA)
    assert len(served_b2[0].objects) == 2
    b2.store.delete(KEY)
    assert served_b2[0].objects == {}


def test_the_same_bytes_again_change_nothing(store: Store) -> None:
    signed = sign(store)
    assert send("PUT", signed, DATA)[0] in (200, 201)
    assert send("PUT", signed, DATA)[0] in (200, 201, 412)
    store.settle(KEY)
    assert send("GET", store.sign_get(KEY, expires_in=MINUTE))[1] == DATA


@pytest.mark.parametrize("span", [(0, 1), (5, 100), (len(DATA) - 1, 1), (0, len(DATA))])
def test_a_range_is_read_exactly(store: Store, span: tuple[int, int]) -> None:
    put(store)
    start, size = span
    assert store.read(KEY, start, size) == DATA[start : start + size]
    status, body = send(
        "GET", store.sign_get(KEY, expires_in=MINUTE), Range=f"bytes={start}-{start + size - 1}"
    )
    assert (status, body) == (206, DATA[start : start + size])


@pytest.mark.parametrize("span", [(len(DATA), 1), (len(DATA) - 1, 2), (0, 0), (-1, 1)])
def test_a_range_that_is_not_there_is_an_error(store: Store, span: tuple[int, int]) -> None:
    put(store)
    with pytest.raises(StoreError) as failure:
        store.read(KEY, *span)
    assert not isinstance(failure.value, ObjectMissing)


def test_head_tells_the_size_and_what_the_store_attests(store: Store) -> None:
    assert store.head(KEY) is None
    put(store)
    info = store.head(KEY)
    assert info in (ObjectInfo(KEY, len(DATA), None), ObjectInfo(KEY, len(DATA), CRC32))


def test_a_missing_object_is_named_as_missing(store: Store) -> None:
    for act in (lambda: store.open(KEY), lambda: store.read(KEY, 0, 1)):
        with pytest.raises(ObjectMissing, match=KEY):
            act()
    assert send("GET", store.sign_get(KEY, expires_in=MINUTE))[0] == 404


def test_deleting_is_repeatable(store: Store) -> None:
    put(store)
    store.delete(KEY)
    store.delete(KEY)
    assert store.head(KEY) is None
    assert list(store.list("")) == []


def test_a_list_is_by_prefix(store: Store) -> None:
    for key in ("a/1", "a/2", "ab", "b/1"):
        put(store, key, key.encode())
    assert {info.key: info.size for info in store.list("a/")} == {"a/1": 3, "a/2": 3}
    assert sorted(info.key for info in store.list("a")) == ["a/1", "a/2", "ab"]
    assert list(store.list("c")) == []


def test_a_list_tells_when_an_object_was_stored(store: Store) -> None:
    put(store)
    (info,) = store.list("")
    assert info.stored_at is not None
    assert abs(datetime.now(UTC) - info.stored_at) < MINUTE


@pytest.mark.parametrize(
    "key",
    ["", "/x", "../x", "a/../b", "a//b", "a/", ".x", "a b", "é", "a?b", "a%2fb", "a" * 513, "x\n"],
)
def test_what_is_no_key_is_refused(store: Store, key: str) -> None:
    acts: list[Callable[[], object]] = [
        lambda: store.sign_put(key, size=1, crc32=CRC32, expires_in=MINUTE),
        lambda: store.sign_get(key, expires_in=MINUTE),
        lambda: store.head(key),
        lambda: store.open(key),
        lambda: store.read(key, 0, 1),
        lambda: store.delete(key),
    ]
    for act in acts:
        with pytest.raises(StoreError, match="is not an object key"):
            act()


@pytest.mark.parametrize(("size", "crc32"), [(-1, CRC32), (1 << 40, CRC32), (1, "abc"), (1, CRC32.upper())])
def test_what_is_no_content_is_not_signed(store: Store, size: int, crc32: str) -> None:
    with pytest.raises(StoreError):
        store.sign_put(KEY, size=size, crc32=crc32, expires_in=MINUTE)
