"""Weights and optimizer state with the statistics of trained ones, in the safetensors layout. Made with numpy alone.

A layer is a Gaussian matrix with a scale of its own and rows of slightly different scales; norms lie near 1. Adam's m
is a Gaussian average of gradients, each element with a size of its own, v a smoothed square of the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Raw = npt.NDArray[np.uint8]

_WIDTH = 2048


def bf16(values: Floats) -> Raw:
    """The upper 16 bits of each float, rounded to nearest even, as bytes."""
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16).view(np.uint8)


def fp16(values: Floats) -> Raw:
    return values.astype(np.float16).view(np.uint8)


def fp32(values: Floats) -> Raw:
    return values.view(np.uint8)


def layers(rng: np.random.Generator, count: int) -> Iterator[tuple[str, Floats]]:
    """About ``count`` parameters as named tensors of shape (rows, 2048), or (2048,) for norms."""
    rows = 1024
    number = 0
    while count > 0:
        take = min(rows, max(1, count // _WIDTH))
        scale = 0.02 / np.sqrt(2 * (1 + number % 24)) * rng.lognormal(0.0, 0.3)
        matrix = rng.standard_normal((take, _WIDTH), dtype=np.float32)
        matrix *= (scale * rng.lognormal(0.0, 0.15, (take, 1))).astype(np.float32)
        yield f"layers.{number}.weight", matrix
        yield f"layers.{number}.norm", 1 + 0.05 * rng.standard_normal(_WIDTH, dtype=np.float32)
        count -= (take + 1) * _WIDTH
        number += 1


def write_model(path: Path, seed: int, count: int, cast: Callable[[Floats], Raw], dtype: str) -> None:
    rng = np.random.default_rng(seed)
    _write(path, ((name, values.shape, cast(values.ravel())) for name, values in layers(rng, count)), dtype)


def write_checkpoint(path: Path, seed: int, count: int, step: int) -> None:
    """Parameters, m and v of one training run at ``step``; same seed, later step: the same run, trained on."""
    _write(path, _trained(seed, count, step), "F32")


def _trained(seed: int, count: int, step: int) -> Iterator[tuple[str, tuple[int, ...], Raw]]:
    rng = np.random.default_rng(seed)
    later = np.random.default_rng([seed, step])
    for name, values in layers(rng, count):
        gradient = np.float32(rng.lognormal(-9.0, 0.5)) * rng.lognormal(0.0, 0.5, values.shape).astype(
            np.float32
        )
        mean = gradient * later.standard_normal(values.shape, dtype=np.float32) * np.float32(0.3)
        square = gradient**2 * later.lognormal(0.0, 0.25, values.shape).astype(np.float32)
        drift = later.standard_normal(values.shape, dtype=np.float32) * np.float32(1e-4 * np.sqrt(step))
        trained = values + drift
        for kind, tensor in (("param", trained), ("exp_avg", mean), ("exp_avg_sq", square)):
            yield f"{kind}.{name}", tensor.shape, fp32(tensor.ravel())


def _write(path: Path, tensors: Iterator[tuple[str, tuple[int, ...], Raw]], dtype: str) -> None:
    """Eight bytes with the header's length, the header, the tensors. They are written first, to learn their sizes."""
    body = path.with_suffix(".body")
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    with body.open("wb") as out:
        for name, shape, raw in tensors:
            header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + raw.nbytes]}
            raw.tofile(out)
            at += raw.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as out, body.open("rb") as source:
        out.write(len(text).to_bytes(8, "little") + text)
        while block := source.read(8 << 20):
            out.write(block)
    body.unlink()
