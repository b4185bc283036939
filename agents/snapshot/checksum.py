"""The CRC-32 by which a stored object is checked on its way and in its store: against accident, not malice."""

from __future__ import annotations

from collections.abc import Iterable

from isal.isal_zlib import crc32


def crc32_of(parts: Iterable[bytes | bytearray | memoryview]) -> str:
    """The CRC-32 of ``parts`` one after the other, the one of zlib and of S3, as 8 lower-case hex digits."""
    value = 0
    for part in parts:
        value = crc32(part, value)
    return f"{value:08x}"
