"""Where stored objects live, as the control plane sees it. Machines never get more than a signed request.

An object is immutable: its key is random, written once, never overwritten.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import BinaryIO, Protocol

from hibernation.domain.errors import StoreError

MAX_OBJECT = 1 << 30
"""Bytes. A pack is some 32 MiB, so that one PUT stores it whole; no store needs multipart uploads."""

_CRC32 = re.compile(r"[0-9a-f]{8}\Z")
_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*\Z")


class ObjectMissing(StoreError, KeyError):
    """There is no object with this key."""

    code = "object_missing"

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """One PUT or GET that its holder may make until it expires, with exactly these headers."""

    url: str = field(repr=False)
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """A stored object; ``crc32`` (hex) where the store keeps one of what it received.

    ``stored_at``, by the store's clock, is what ``list`` tells.
    """

    key: str
    size: int
    crc32: str | None
    stored_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Promises:
    """What binds a signed PUT besides its key, length and expiry: its CRC-32, and that nothing is there yet."""

    crc32: bool
    once: bool


class Store(Protocol):
    """An object store. Raises only ``StoreError`` and its children. Any thread may call it."""

    @property
    def promises(self) -> Promises: ...

    def sign_put(self, key: str, *, size: int, crc32: str, expires_in: timedelta) -> SignedRequest:
        """Permission to store bytes of this size and CRC-32 (8 hex digits) under ``key``, as far as ``promises`` goes.

        Its holder sends the body's Content-Length himself, besides the given headers.
        """

    def settle(self, key: str) -> None:
        """Make what was sent through ``sign_put`` the object ``key``, which nobody can replace any more.

        Only where not ``promises.once``: there it is no object before. Repeatable: a settled one stays as it is.
        """

    def sign_get(self, key: str, *, expires_in: timedelta) -> SignedRequest:
        """Permission to read one object, whole or by range."""

    def head(self, key: str) -> ObjectInfo | None:
        """What is stored under ``key`` now."""

    def open(self, key: str) -> BinaryIO:
        """The object's bytes, for the caller to close. ``ObjectMissing`` if there is none."""

    def read(self, key: str, start: int, size: int) -> bytes:
        """Exactly ``size`` (> 0) bytes from ``start``, else ``StoreError``; ``ObjectMissing`` if there is no object."""

    def delete(self, key: str) -> None:
        """Repeatable: deleting what is gone is success."""

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Every object whose key starts with ``prefix``, in no order."""


def is_key(key: str) -> bool:
    return len(key) <= 512 and _KEY.match(key) is not None


def check_key(key: str) -> str:
    """A key that can be a path: no empty, hidden, '.' or '..' part, no leading '/', ASCII, at most 512 characters."""
    if not is_key(key):
        raise StoreError(f"{key!r} is not an object key")
    return key


def check_content(size: int, crc32: str) -> None:
    """That these can be an object's length and CRC-32 (hex)."""
    if not 0 <= size <= MAX_OBJECT:
        raise StoreError(f"{size} bytes is no size for an object")
    if not _CRC32.match(crc32):
        raise StoreError(f"{crc32!r} is not a CRC-32 in hex")


def check_range(start: int, size: int) -> None:
    if start < 0 or size < 1:
        raise StoreError(f"{size} bytes from {start} is no range of an object")
