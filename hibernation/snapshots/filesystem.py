"""A store in a folder of the VPS, served and received by Dumont itself through signed URLs that expire.

Nothing here knows a web framework: ``receive`` and ``send`` take and give plain values.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import hmac
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import urlencode

from agents.snapshot.checksum import crc32_of
from hibernation.domain.errors import StoreError
from hibernation.snapshots.store import (
    ObjectInfo,
    ObjectMissing,
    Promises,
    SignedRequest,
    check_content,
    check_key,
    check_range,
    is_key,
)

_BLOCK = 1 << 20
_INCOMING = ".incoming"
# The database may live on the same disk: a box that stores without end must not stop it.
_SPARE = 1 << 30
# Nothing arrives for so long without a byte being written.
_LEFTOVER_SECONDS = 86_400
_FULL = {errno.ENOSPC, errno.EDQUOT}


class StoreRefused(StoreError):
    """A request to the store was refused, and nothing was stored. ``status`` is the HTTP status that says why."""

    code = "store_refused"

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class FilesystemStore:
    """Objects are files below ``root``; ``secret`` signs the URLs below ``base_url``. ``now`` is Unix seconds."""

    promises = Promises(crc32=True, once=True)

    def __init__(
        self, root: Path, base_url: str, secret: bytes, *, now: Callable[[], float] = time.time
    ) -> None:
        if len(secret) < 16:
            raise StoreError("the store's secret must have at least 16 bytes")
        self._root = root
        self._base_url = base_url.rstrip("/")
        self._secret = secret
        self._now = now

    def sign_put(self, key: str, *, size: int, crc32: str, expires_in: timedelta) -> SignedRequest:
        check_content(size, crc32)
        return self._sign("PUT", key, {"size": str(size), "crc32": crc32}, expires_in)

    def settle(self, key: str) -> None:
        check_key(key)

    def sign_get(self, key: str, *, expires_in: timedelta) -> SignedRequest:
        return self._sign("GET", key, {}, expires_in)

    def head(self, key: str) -> ObjectInfo | None:
        try:
            return ObjectInfo(key, self._path(key).stat().st_size, None)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def open(self, key: str) -> BinaryIO:
        try:
            return self._path(key).open("rb")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise ObjectMissing(f"there is no object {key}") from error
        except OSError as error:
            raise StoreError(f"{key} cannot be read: {error.strerror}") from error

    def read(self, key: str, start: int, size: int) -> bytes:
        check_range(start, size)
        with self.open(key) as file:
            file.seek(start)
            found = file.read(size)
        if len(found) != size:
            raise StoreError(f"{key} has no {size} bytes from {start}")
        return found

    def delete(self, key: str) -> None:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            self._path(key).unlink()

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        for folder, dirs, names in os.walk(self._root):
            dirs[:] = [name for name in dirs if name != _INCOMING]
            for name in names:
                path = Path(folder) / name
                key = path.relative_to(self._root).as_posix()
                if key.startswith(prefix) and is_key(key):
                    with contextlib.suppress(FileNotFoundError):
                        info = path.stat()
                        yield ObjectInfo(key, info.st_size, None, datetime.fromtimestamp(info.st_mtime, UTC))

    def receive(
        self, method: str, key: str, query: Mapping[str, str], stream: Readable, length: int | None
    ) -> None:
        """Store a signed PUT's body. On return they are on disk under their key, with the signed length and CRC-32.

        Repeatable with the same bytes; other bytes for an existing key are refused. Raises ``StoreRefused``.
        """
        self._check_signature(method, key, query)
        size = int(query["size"])
        if length is None:
            raise StoreRefused(411, "the request does not tell its length")
        if length != size:
            raise StoreRefused(
                413 if length > size else 400, f"{size} bytes were signed, {length} are offered"
            )
        try:
            self._store(self._path(key), stream, size, query["crc32"])
        except OSError as error:
            if error.errno in _FULL:
                raise StoreRefused(507, "the store's disk is full") from error
            raise StoreRefused(500, f"the store failed: {error.strerror}") from error

    def send(
        self, method: str, key: str, query: Mapping[str, str], range_header: str | None
    ) -> tuple[int, dict[str, str], FileBody]:
        """Status, headers and body of a signed GET, or of a HEAD (empty body). Raises ``StoreRefused``.

        The caller closes the body.
        """
        self._check_signature("GET", key, query)
        try:
            file = self.open(key)
        except ObjectMissing as error:
            raise StoreRefused(404, str(error)) from error
        size = os.fstat(file.fileno()).st_size
        try:
            start, end = parse_range(range_header, size)
        except StoreRefused:
            file.close()
            raise
        headers = {"Content-Length": str(end - start), "Accept-Ranges": "bytes"}
        if range_header:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        return (
            206 if range_header else 200,
            headers,
            FileBody(file, start, 0 if method == "HEAD" else end - start),
        )

    def _sign(self, method: str, key: str, facts: dict[str, str], expires_in: timedelta) -> SignedRequest:
        check_key(key)
        query = {"expires": str(int(self._now() + expires_in.total_seconds())), **facts}
        query["signature"] = self._signature(method, key, query)
        return SignedRequest(f"{self._base_url}/api/store/{key}?{urlencode(query)}", {})

    def _signature(self, method: str, key: str, query: Mapping[str, str]) -> str:
        facts = [method, key, *(query.get(name, "") for name in ("expires", "size", "crc32"))]
        return hmac.new(self._secret, "\n".join(facts).encode(errors="replace"), hashlib.sha256).hexdigest()

    def _check_signature(self, method: str, key: str, query: Mapping[str, str]) -> None:
        """The signature first: until it holds, every other part of the request is somebody's invention."""
        given = query.get("signature", "").encode(errors="replace")
        if not hmac.compare_digest(self._signature(method, key, query).encode(), given):
            raise StoreRefused(403, "the URL's signature is wrong")
        if int(query["expires"]) < self._now():
            raise StoreRefused(403, "the URL has expired")

    def _store(self, path: Path, stream: Readable, size: int, crc32: str) -> None:
        """Temporary file, fsync, link: the key appears with all its bytes or not at all, and only once."""
        incoming = self._root / _INCOMING
        self._make_dirs(incoming)
        self._drop_leftovers(incoming)
        if shutil.disk_usage(incoming).free < size + _SPARE:
            raise StoreRefused(507, "the store's disk is nearly full")
        temp = incoming / secrets.token_hex(16)
        try:
            with open(temp, "xb", opener=_private) as file:
                _copy(stream, file, size, crc32)
                file.flush()
                os.fsync(file.fileno())
            self._make_dirs(path.parent)
            try:
                os.link(temp, path)
            except FileExistsError:
                self._check_same(path, size, crc32)
            _sync_dir(path.parent)
        finally:
            temp.unlink(missing_ok=True)

    def _drop_leftovers(self, incoming: Path) -> None:
        """A process that is killed leaves its temporary file; nobody else would ever remove it."""
        for temp in incoming.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if temp.stat().st_mtime < self._now() - _LEFTOVER_SECONDS:
                    temp.unlink()

    def _check_same(self, path: Path, size: int, crc32: str) -> None:
        with path.open("rb") as file:
            same = crc32_of(iter(partial(file.read, _BLOCK), b"")) == crc32
        if not same or path.stat().st_size != size:
            raise StoreRefused(409, "the key is taken by other bytes")

    def _make_dirs(self, folder: Path) -> None:
        if not folder.is_dir():
            self._make_dirs(folder.parent)
            with contextlib.suppress(FileExistsError):
                folder.mkdir(mode=0o700)
            _sync_dir(folder.parent)

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)


class FileBody:
    """``size`` bytes of an open file from ``start``, 1 MiB at a time. Closing it closes the file, read or not."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self._file = file
        self._left = size
        file.seek(start)

    def __iter__(self) -> FileBody:
        return self

    def __next__(self) -> bytes:
        block = self._file.read(min(_BLOCK, self._left)) if self._left else b""
        if not block:
            self.close()
            raise StopIteration
        self._left -= len(block)
        return block

    def close(self) -> None:
        self._file.close()


def _copy(stream: Readable, file: BinaryIO, size: int, crc32: str) -> None:
    if crc32_of(_copied(stream, file, size)) != crc32:
        raise StoreRefused(400, "the body is not the one that was signed (crc32)")


def _copied(stream: Readable, file: BinaryIO, left: int) -> Iterator[bytes]:
    while left:
        block = stream.read(min(_BLOCK, left))
        if not block:
            raise StoreRefused(400, f"the body ended {left} bytes early")
        file.write(block)
        left -= len(block)
        yield block


def parse_range(header: str | None, size: int) -> tuple[int, int]:
    """``[start, end)`` of a single range; 416 for one that the object does not have or that we do not serve."""
    if not header:
        return 0, size
    unit, _, span = header.partition("=")
    first, dash, last = span.partition("-")
    good = unit.strip() == "bytes" and dash and all(not part or part.isdecimal() for part in (first, last))
    if not good or not (first or last) or len(first) > 18 or len(last) > 18:
        raise StoreRefused(416, "only one range of bytes is served")
    start = int(first) if first else max(size - int(last), 0)
    end = min(int(last) + 1, size) if first and last else size
    if start >= end:
        raise StoreRefused(416, f"the object has {size} bytes")
    return start, end


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _sync_dir(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
