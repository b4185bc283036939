"""The built-in store takes exactly what was signed, once, and serves it by range."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from agents.snapshot.checksum import crc32_of
from hibernation.domain.errors import StoreError
from hibernation.snapshots import filesystem
from hibernation.snapshots.filesystem import FilesystemStore, StoreRefused
from hibernation.snapshots.store import ObjectInfo, ObjectMissing, SignedRequest

DATA = b"packed chunks" * 1000
CRC32 = crc32_of([DATA])
KEY = "i/7/pack-1"
MINUTE = timedelta(minutes=1)


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> FilesystemStore:
    return FilesystemStore(tmp_path / "store", "http://vps.example", b"s" * 32, now=clock)


def query(signed: SignedRequest) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(signed.url).query))


def put(store: FilesystemStore, key: str = KEY, data: bytes = DATA) -> None:
    signed = store.sign_put(key, size=len(data), crc32=crc32_of([data]), expires_in=MINUTE)
    store.receive("PUT", key, query(signed), io.BytesIO(data), len(data))


def refused(act: Callable[[], object]) -> int:
    with pytest.raises(StoreRefused) as failure:
        act()
    return failure.value.status


def get(store: FilesystemStore, span: str | None = None) -> tuple[int, dict[str, str], bytes]:
    status, headers, body = store.send("GET", KEY, query(store.sign_get(KEY, expires_in=MINUTE)), span)
    return status, headers, b"".join(body)


def stored_files(store: FilesystemStore) -> list[Path]:
    return [path for path in store._root.rglob("*") if path.is_file()]


def test_a_signed_put_is_stored_privately_and_served(store: FilesystemStore) -> None:
    put(store)
    assert get(store)[2] == DATA
    assert store.head(KEY) == ObjectInfo(KEY, len(DATA), None)
    assert [info.key for info in store.list("i/7/")] == [KEY]
    assert list(store.list("i/8")) == []
    assert all(
        stat.S_IMODE(p.stat().st_mode) == 0o700 for p in [store._root, *store._root.rglob("*")] if p.is_dir()
    )
    with store.open(KEY) as file:
        assert file.read() == DATA


def test_the_url_names_the_object_and_its_limits(store: FilesystemStore) -> None:
    signed = store.sign_put(KEY, size=5, crc32=CRC32, expires_in=MINUTE)
    assert signed.url.startswith(f"http://vps.example/api/store/{KEY}?")
    assert query(signed).keys() == {"expires", "size", "crc32", "signature"}
    assert query(signed)["expires"] == "1000060"


@pytest.mark.parametrize("field", ["expires", "size", "crc32", "signature"])
def test_a_changed_url_is_refused(store: FilesystemStore, field: str) -> None:
    signed = query(store.sign_put(KEY, size=len(DATA), crc32=CRC32, expires_in=MINUTE))
    for changed in (
        {**signed, field: "9" * 10},
        {k: v for k, v in signed.items() if k != field},
        {**signed, field: "é"},
    ):
        body = io.BytesIO(DATA)
        assert refused(lambda c=changed, b=body: store.receive("PUT", KEY, c, b, len(DATA))) == 403
    assert stored_files(store) == []


def test_a_signature_is_for_one_key_method_and_time(store: FilesystemStore, clock: Clock) -> None:
    put(store)
    reading = query(store.sign_get(KEY, expires_in=MINUTE))
    writing = query(store.sign_put("other", size=3, crc32=CRC32, expires_in=MINUTE))
    assert refused(lambda: store.send("GET", "other", reading, None)) == 403
    assert refused(lambda: store.receive("PUT", KEY, reading, io.BytesIO(), 0)) == 403
    assert refused(lambda: store.send("GET", "other", writing, None)) == 403
    clock.now += 61
    assert refused(lambda: store.send("GET", KEY, reading, None)) == 403


@pytest.mark.parametrize(
    ("body", "length", "status"),
    [
        (DATA, None, 411),
        (DATA + b"!", len(DATA) + 1, 413),
        (DATA[:-1], len(DATA) - 1, 400),
        (DATA[:-1], len(DATA), 400),
        (DATA[:-1] + b"?", len(DATA), 400),
    ],
)
def test_other_bytes_than_signed_are_not_stored(
    store: FilesystemStore, body: bytes, length: int | None, status: int
) -> None:
    signed = query(store.sign_put(KEY, size=len(DATA), crc32=CRC32, expires_in=MINUTE))
    assert refused(lambda: store.receive("PUT", KEY, signed, io.BytesIO(body), length)) == status
    assert stored_files(store) == []
    assert store.head(KEY) is None


def test_an_object_is_written_once(store: FilesystemStore) -> None:
    put(store)
    put(store)
    assert refused(lambda: put(store, data=b"other")) == 409
    assert get(store)[2] == DATA
    assert len(stored_files(store)) == 1


def test_a_full_disk_is_507_and_leaves_nothing(
    store: FilesystemStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(filesystem.os, "fsync", full)
    (store._root / ".incoming").mkdir(parents=True)
    assert refused(lambda: put(store)) == 507
    assert stored_files(store) == []


def test_a_failing_disk_is_500(store: FilesystemStore, monkeypatch: pytest.MonkeyPatch) -> None:
    (store._root / ".incoming").mkdir(parents=True)
    monkeypatch.setattr(filesystem.os, "fsync", lambda fd: os.stat("/nonexistent"))
    assert refused(lambda: put(store)) == 500


@pytest.mark.parametrize(
    ("span", "start", "end"),
    [("bytes=0-9", 0, 10), ("bytes=5-5", 5, 6), ("bytes=12990-99999", 12990, 13000), ("bytes=-7", 12993, 13000),
     ("bytes=100-", 100, 13000)],
)  # fmt: skip
def test_a_range_is_served(store: FilesystemStore, span: str, start: int, end: int) -> None:
    put(store)
    status, headers, body = get(store, span)
    assert (status, body) == (206, DATA[start:end])
    assert headers["Content-Range"] == f"bytes {start}-{end - 1}/13000"
    assert headers["Content-Length"] == str(end - start)


@pytest.mark.parametrize("span", ["bytes=13000-", "bytes=5-4", "bytes=-", "bytes=1-2,5-6", "lines=1-2", "x", "bytes=-0",
                                  "bytes=" + "9" * 30 + "-"])  # fmt: skip
def test_an_impossible_range_is_416(store: FilesystemStore, span: str) -> None:
    put(store)
    assert refused(lambda: get(store, span)) == 416


def test_head_has_no_body_and_a_missing_object_is_404(store: FilesystemStore) -> None:
    assert refused(lambda: get(store)) == 404
    put(store)
    signed = query(store.sign_get(KEY, expires_in=MINUTE))
    status, headers, body = store.send("HEAD", KEY, signed, None)
    assert (status, headers["Content-Length"], b"".join(body)) == (200, "13000", b"")


def test_a_body_that_is_never_read_is_closed(store: FilesystemStore) -> None:
    put(store)
    body = store.send("GET", KEY, query(store.sign_get(KEY, expires_in=MINUTE)), None)[2]
    body.close()
    assert body._file.closed


def test_deleting_is_repeatable_and_opening_then_fails(store: FilesystemStore) -> None:
    put(store)
    store.delete(KEY)
    store.delete(KEY)
    with pytest.raises(ObjectMissing, match="there is no object"):
        store.open(KEY)
    with pytest.raises(KeyError):
        store.open("i")
    assert store.head("i/7/pack-1/x") is None


@pytest.mark.parametrize(
    "key", ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/", ".incoming/x", "a b", "é", "a" * 600, "x\n"]
)
def test_a_key_that_is_no_key_is_refused(store: FilesystemStore, key: str) -> None:
    for act in (store.head, store.open, store.delete, lambda k: store.sign_get(k, expires_in=MINUTE)):
        with pytest.raises(StoreError):
            act(key)


def test_a_weak_secret_and_an_absurd_size_are_refused(store: FilesystemStore, tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        FilesystemStore(tmp_path, "http://x", b"short")
    with pytest.raises(StoreError):
        store.sign_put(KEY, size=1 << 40, crc32=CRC32, expires_in=MINUTE)


def test_what_a_killed_process_left_is_removed_after_a_day(
    store: FilesystemStore, clock: Clock, tmp_path: Path
) -> None:
    put(store)
    incoming = tmp_path / "store" / ".incoming"
    for name, age in (("old", 86_401), ("young", 86_399)):
        (incoming / name).touch()
        os.utime(incoming / name, (clock.now - age, clock.now - age))
    put(store, key="i/7/pack-2")
    assert [path.name for path in incoming.iterdir()] == ["young"]


def test_the_last_gigabyte_of_the_disk_is_not_for_objects(
    store: FilesystemStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = (1 << 30) + len(DATA)
    usage = type("Usage", (), {"free": free - 1})
    monkeypatch.setattr(filesystem.shutil, "disk_usage", lambda path: usage)
    assert refused(lambda: put(store)) == 507
    assert store.head(KEY) is None
    usage.free = free
    put(store)
