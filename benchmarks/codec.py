"""What the codecs make of a chunk, against plain zstd -1 on the same bytes: ratio, and GB per CPU second of one thread.

.venv/bin/python -m benchmarks.codec [--rounds 15]
"""

from __future__ import annotations

import argparse
import ctypes
import statistics
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import zstandard

from agents.snapshot.codec import decode, encode

CHUNK = 8 << 20
NAMES = {0: "raw", 1: "zstd", 2: "planes"}


def chunks() -> dict[str, bytes]:
    """One chunk of each kind: weights as they are initialised, and what else lies in a workspace."""
    random = np.random.default_rng(1)
    weights = random.normal(0, 0.02, CHUNK // 2).astype("<f4")
    halves = (weights.view("<u4") >> 16).astype("<u2")
    source = Path(sysconfig.get_path("stdlib")).rglob("*.py")
    text = b"".join(path.read_bytes() for path in sorted(source)[:1500])
    return {
        "bf16": halves.tobytes(),
        "bf16 at an odd offset": b"?" + halves.tobytes()[1:],
        "fp16": weights.astype("<f2").tobytes(),
        "fp32": weights[: CHUNK // 4].tobytes(),
        "fp32 squares": (weights[: CHUNK // 4] ** 2).tobytes(),
        "bf16 as fp32": (halves[: CHUNK // 4].astype("<u4") << 16).tobytes(),
        "python": text[:CHUNK],
        "noise": random.bytes(CHUNK),
    }


def cpu_seconds(action: Callable[[], object]) -> float:
    begun = time.thread_time()
    action()
    return time.thread_time() - begun


def measure(raw: bytes, rounds: int) -> str:
    plain = zstandard.ZstdCompressor(level=1)
    codec, stored = encode(raw)
    actions = (
        lambda: encode(raw),
        lambda: plain.compress(raw),
        lambda: decode(codec, stored, len(raw)),
    )
    taken = [[cpu_seconds(action) for action in actions] for _ in range(rounds)]
    ours, zstd, back = (len(raw) / statistics.median(column) / 1e9 for column in zip(*taken, strict=True))
    ratios = f"{len(raw) / len(stored):9.3f} {len(raw) / len(plain.compress(raw)):9.3f}"
    return f"{NAMES[codec]:>7} {ratios} {ours:8.2f} {zstd:8.2f} {back:8.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    for limit, size in ((-3, 1 << 30), (-1, 2**31 - 1)):  # as a job does: freed buffers stay with the process
        ctypes.CDLL(None).mallopt(limit, size)
    print(f"{'':22} {'codec':>7} {'ratio':>9} {'zstd -1':>9} {'encode':>8} {'zstd -1':>8} {'decode':>8}")
    for name, raw in chunks().items():
        print(f"{name:22} {measure(raw, rounds)}", flush=True)


if __name__ == "__main__":
    main()
