from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.snapshot.codec import PLANES, RAW, ZSTD, decode, encode, unzstd, zstd
from agents.snapshot.errors import SnapshotError

GOLDEN = Path(__file__).parent / "golden"
TEXT = b"".join(b"step %d: loss %.6f, %d tokens\n" % (n, 3 / (n + 1), n * 8191 % 977) for n in range(9000))


def refusal(codec: int, stored: bytes, length: int) -> str:
    with pytest.raises(SnapshotError) as caught:
        decode(codec, stored, length)
    assert caught.value.code == "snapshot_unproven"
    return str(caught.value)


@pytest.mark.parametrize("name", json.loads((GOLDEN / "index.json").read_text()))
def test_what_was_once_written_still_decodes(name: str) -> None:
    row = json.loads((GOLDEN / "index.json").read_text())[name]
    raw = decode(row["codec"], (GOLDEN / name).read_bytes(), row["length"])
    assert hashlib.sha256(raw).hexdigest() == row["sha256"]


def test_noise_comes_back_as_the_very_same_object() -> None:
    raw = memoryview(os.urandom(1 << 18))
    codec, stored = encode(raw)
    assert codec == RAW
    assert stored is raw


def test_text_goes_through_zstd_at_the_level_asked_for() -> None:
    sizes = []
    for level in (1, 9, 5, 1):
        codec, stored = encode(TEXT, level)
        assert (codec, decode(codec, stored, len(TEXT))) == (ZSTD, TEXT)
        sizes.append(len(stored))
    assert sizes == [len(zstandard.ZstdCompressor(level=level).compress(TEXT)) for level in (1, 9, 5, 1)]
    assert sizes[1] < sizes[0]


@pytest.mark.parametrize("raw", [b"", b"x", b"ab", os.urandom(1000), os.urandom(65_535)])
def test_what_does_not_shrink_is_stored_as_it_is(raw: bytes) -> None:
    assert encode(raw) == (RAW, raw)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 300_000), st.integers(0, 9), st.randoms(use_true_random=False))
def test_every_length_comes_back(length: int, grain: int, rng: random.Random) -> None:
    unit = rng.randbytes(1 + (1 << 2 * grain))
    raw = (unit * (length // len(unit) + 1))[:length]
    codec, stored = encode(memoryview(raw))
    assert len(stored) <= length
    assert decode(codec, stored, length) == raw


def test_an_unknown_codec_is_refused() -> None:
    assert "codec 7" in refusal(7, b"", 0)


@pytest.mark.parametrize("promised", [len(TEXT) - 1, len(TEXT) + 1, 0])
def test_another_length_than_promised_is_refused(promised: int) -> None:
    for codec, stored in ((RAW, TEXT), (ZSTD, zstandard.ZstdCompressor().compress(TEXT))):
        refusal(codec, bytes(stored), promised)


def test_a_frame_that_claims_too_much_is_refused_before_it_is_decoded() -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(1 << 24))
    assert "claims" in refusal(ZSTD, bomb, 1000)


def test_a_frame_without_its_size_is_refused() -> None:
    unsized = zstandard.ZstdCompressor(write_content_size=False).compress(TEXT)
    refusal(ZSTD, unsized, len(TEXT))


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([ZSTD, PLANES]), st.binary(max_size=400), st.integers(0, 4096))
def test_random_bytes_never_decode_to_another_length(codec: int, stored: bytes, length: int) -> None:
    with suppress(SnapshotError):
        assert len(decode(codec, stored, length)) == length


def test_a_table_of_contents_comes_back_and_is_checked() -> None:
    frame = zstd(TEXT)
    assert unzstd(frame, len(TEXT)) == TEXT
    with pytest.raises(SnapshotError):
        unzstd(frame[:-5] + bytes([frame[-5] ^ 1]) + frame[-4:], len(TEXT))


def test_numpy_is_imported_only_for_a_chunk_that_may_hold_numbers() -> None:
    code = (
        "import sys; from agents.snapshot.codec import encode\n"
        "encode(bytes([200]) * 65535); encode(b'text' * 65536); assert 'numpy' not in sys.modules\n"
        "encode(bytes([200]) * 65536); assert 'numpy' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
