"""The float codec beside zstd -1 on the same bytes, by the CPU seconds of one thread."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable

import numpy as np
import zstandard

from agents.snapshot import codec
from benchmarks.snapshot import weights
from benchmarks.snapshot.report import Row

_CHUNK = 8 << 20
_KINDS: tuple[tuple[str, Callable[[weights.Floats], weights.Raw], float], ...] = (
    ("bf16", weights.bf16, 1.49),
    ("fp32", weights.fp32, 1.19),
    ("fp16", weights.fp16, 1.17),
)


def codec_rows(rounds: int, scale: float) -> list[Row]:
    _keep_big_buffers()
    rows = []
    for name, cast, goal in _KINDS:
        chunks = _chunks(cast, max(1, int(100_000_000 * scale)))
        _round(chunks[:1])  # imports and buffers
        figures = [_round(chunks) for _ in range(rounds)]
        size = sum(map(len, chunks))
        rows += [
            Row(
                f"{name}: bytes / stored bytes", tuple(size / stored for stored, *_ in figures), at_least=goal
            ),
            Row(
                f"{name}: encode speed against zstd -1", tuple(z / e for _, e, _, z in figures), at_least=1.0
            ),
            Row(f"{name}: encode", tuple(size / e / 1e9 for _, e, _, _ in figures), " GB/CPU s"),
            Row(f"{name}: decode", tuple(size / d / 1e9 for _, _, d, _ in figures), " GB/CPU s"),
        ]
    return rows


def _chunks(cast: Callable[[weights.Floats], weights.Raw], count: int) -> list[bytes]:
    rng = np.random.default_rng(11)
    whole = b"".join(cast(values.ravel()).tobytes() for _, values in weights.layers(rng, count))
    return [whole[at : at + _CHUNK] for at in range(0, len(whole), _CHUNK)]


def _round(chunks: list[bytes]) -> tuple[int, float, float, float]:
    """Stored bytes; CPU seconds of encode, decode and zstd -1. They take turns chunk by chunk."""
    compressor = zstandard.ZstdCompressor(level=1)
    stored, encode, decode, zstd = 0, 0.0, 0.0, 0.0
    for raw in chunks:
        begun = time.thread_time()
        kind, packed = codec.encode(raw)
        encoded = time.thread_time()
        back = codec.decode(kind, packed, len(raw))
        decoded = time.thread_time()
        compressor.compress(raw)
        zstd += time.thread_time() - decoded
        encode += encoded - begun
        decode += decoded - encoded
        stored += len(packed)
        if back != raw:
            raise SystemExit("a chunk came back with other bytes")
    return stored, encode, decode, zstd


def _keep_big_buffers() -> None:
    """As the job does: otherwise every buffer of both codecs is faulted in again."""
    libc = ctypes.CDLL(None)
    libc.mallopt(-3, 1 << 30)
    libc.mallopt(-1, 2**31 - 1)
