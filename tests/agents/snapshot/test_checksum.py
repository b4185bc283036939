"""The checksum of stored objects: the CRC-32 of everybody else, over bytes in any pieces."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.snapshot.checksum import crc32_of


@pytest.mark.parametrize(
    ("data", "digits"), [(b"", "00000000"), (b"123456789", "cbf43926"), (b"62", "0012d20a")]
)
def test_it_is_the_crc32_of_the_standards_in_eight_digits(data: bytes, digits: str) -> None:
    assert crc32_of([data]) == digits == f"{zlib.crc32(data):08x}"


@given(st.lists(st.binary(max_size=200), max_size=8))
def test_it_does_not_matter_how_the_bytes_are_cut(parts: list[bytes]) -> None:
    whole = f"{zlib.crc32(b''.join(parts)):08x}"
    assert crc32_of(parts) == whole
    assert crc32_of(bytearray(part) for part in parts) == whole
    assert crc32_of(memoryview(part) for part in parts) == whole
