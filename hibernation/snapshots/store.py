"""Where stored objects live, as the control plane sees it. Machines never get more than a signed request.

An object is immutable: its key is random, written once, never overwritten.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import BinaryIO, Protocol

from hibernation.domain.errors import StoreError

_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*\Z")


class ObjectMissing(StoreError, KeyError):
    """There is no object with this key."""

    code = "object_missing"

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """One PUT or GET that its holder may make until it expires, with exactly these headers."""

    url: str
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """A stored object; ``sha256`` (hex) where the store keeps one of what it received."""

    key: str
    size: int
    sha256: str | None


class Store(Protocol):
    """An object store. Raises only ``StoreError`` and its children."""

    def sign_put(self, key: str, *, size: int, sha256: str, expires_in: timedelta) -> SignedRequest:
        """Permission to store exactly these bytes under ``key``, and nothing else."""

    def sign_get(self, key: str, *, expires_in: timedelta) -> SignedRequest:
        """Permission to read one object, whole or by range."""

    def head(self, key: str) -> ObjectInfo | None:
        """What is stored under ``key`` now."""

    def open(self, key: str) -> BinaryIO:
        """The object's bytes, for the caller to close. ``ObjectMissing`` if there is none."""

    def delete(self, key: str) -> None:
        """Repeatable: deleting what is gone is success."""

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Every object whose key starts with ``prefix``, in no order."""


def check_key(key: str) -> str:
    """A key that can be a path: no empty, hidden, '.' or '..' part, no leading '/', ASCII, at most 512 characters."""
    if len(key) > 512 or not _KEY.match(key):
        raise StoreError(f"{key!r} is not an object key")
    return key
