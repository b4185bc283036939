"""Float planes: a chunk of bf16, fp16 or fp32 numbers, stored as one plane for each byte of the number.

Exponents repeat and mantissas are noise: apart, the first shrink and the second cost nothing to pack. The payload is
specified in docs/snapshot-format.md. The only module of the engine that needs numpy.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

from agents.snapshot.codec import PIECE, unzstd
from agents.snapshot.errors import SnapshotError

Octets = NDArray[np.uint8]
Words = NDArray[np.unsignedinteger[Any]]
Counts = NDArray[np.intp]
Shares = NDArray[np.float64]

_HEAD = struct.Struct("<BBBB")
_SIZE = 4
_STEP = 1 << 17  # words worked on at a time: few enough for a core's cache, enough to hide Python
_READ = 512  # bytes of each piece of the sample that are counted
_NOISE = 0.97  # a plane of more entropy than this, as a share of 8 bits, is not worth coding
_CONSTANT = 0.02  # one of less entropy than this is no exponent
_EVEN_BELOW, _EVEN_WITHIN = 0.9, 0.1
_CLEARLY = 0.97
_ROTATED = (
    0.985  # less is not worth it: an exponent without the sign's noise keeps zstd busy with chance matches
)
_FRAMES = 0.01  # what heads and code tables add, as a share of the chunk: an upper bound


@dataclass(frozen=True, slots=True)
class Layout:
    """How the numbers of a chunk lie: ``lead`` bytes, words of ``width`` bytes, and the bytes that are left.

    ``rotate``: the sign moves to the lowest bit, which leaves the top byte of a bf16 or fp32 to its exponent.
    ``coded``: which planes are entropy-coded, that of the lowest byte first. The others are bare.
    """

    width: int
    lead: int
    rotate: bool
    coded: tuple[bool, ...]

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger[Any]]:
        return np.dtype(f"<u{self.width}")

    def words(self, length: int) -> slice:
        """Where the words of a chunk of ``length`` bytes are; the bytes before and after them are its edges."""
        return slice(self.lead, length - (length - self.lead) % self.width)

    def parts(self, length: int) -> tuple[int, int, int, int]:
        """``(words, offset of the edges, of the bare planes, of the coded planes)`` in the payload for a chunk."""
        count, coded = (length - self.lead) // self.width, sum(self.coded)
        edges = _HEAD.size + _SIZE * coded
        bare = edges + length - count * self.width
        return count, edges, bare, bare + count * (self.width - coded)


class Probe:
    """What a sample tells about its chunk: pieces of ``PIECE`` bytes, each from a multiple of 4. Costs 50 µs."""

    def __init__(self, sample: bytes) -> None:
        self._lanes = np.frombuffer(sample, np.uint8).reshape(-1, PIECE)[:, :_READ].reshape(-1, 4)
        counts = _histograms(self._lanes)
        self._four, self._two = _entropies(counts), _entropies(counts[:2] + counts[2:])

    @property
    def is_even(self) -> bool:
        """The bytes of all four lanes are alike and not noise, as in text and programs: no numbers are in there."""
        return bool(self._four.max() < _EVEN_BELOW and self._four.max() - self._four.min() < _EVEN_WITHIN)

    def layout(self, rival: float) -> Layout | None:
        """The one that takes clearly less than ``rival``, the share of the sample that zstd leaves; or ``None``."""
        plain = self._two if _share(self._two) <= 1.01 * _share(self._four) else self._four
        if _share(plain) > rival:
            return None
        lead = _lead(plain)
        rotated = _entropies(_histograms(_rotated(self._lanes.ravel(), lead, len(plain))))
        # Among noise the sign costs nothing. In an empty plane it costs more than its bit: zstd finds matches there.
        rotate = bool(plain[lead] >= _NOISE and _share(rotated) < _ROTATED * _share(plain))
        best = rotated if rotate else plain
        if _share(best) > _CLEARLY * rival:
            return None
        return Layout(len(best), lead if rotate else 0, rotate, tuple((best < _NOISE).tolist()))


def split(raw: bytes | memoryview, layout: Layout) -> memoryview:
    """The payload for ``raw``, which has at least ``layout.lead`` bytes. It may come out longer than ``raw``."""
    given, inner = np.frombuffer(raw, np.uint8), layout.words(len(raw))
    count, edges, bare, end = layout.parts(len(raw))
    apart = np.empty((sum(layout.coded), count), np.uint8)
    out = np.empty(end + len(apart) * (count + (count >> 8) + 64), np.uint8)
    planes = _in_order(layout, out[bare:end].reshape(layout.width - len(apart), count), apart)
    _scatter(given[inner].view(layout.dtype), planes, layout.rotate)
    np.concatenate((given[: inner.start], given[inner.stop :]), out=out[edges:bare])
    frames = [np.frombuffer(_kept.coder.compress(plane.data), np.uint8) for plane in apart]
    for frame in frames:
        out[end : end + len(frame)] = frame
        end += len(frame)
    mask = sum(1 << number for number, coded in enumerate(layout.coded) if coded)
    sizes = [len(frame) for frame in frames]
    struct.pack_into(
        f"<BBBB{len(sizes)}I", out.data, 0, layout.width, layout.lead, layout.rotate, mask, *sizes
    )
    return out.data[:end]


def join(stored: bytes | memoryview, length: int, into: memoryview | None = None) -> memoryview:
    """The ``length`` bytes that ``stored`` was split from, or ``SnapshotError('snapshot_unproven')``.

    They are put ``into`` this memory if it suits. Safe on hostile input: it allocates at most ``2 * length`` and a few
    KiB.
    """
    layout, sizes = _read_head(stored, length)
    given, inner = np.frombuffer(stored, np.uint8), layout.words(length)
    count, edges, bare, end = layout.parts(length)
    if end + sum(sizes) != len(stored):
        raise _damaged(f"{len(stored)} bytes where the head asks for {end + sum(sizes)}")
    planes = given[bare:end].reshape(layout.width - len(sizes), count)
    apart = []
    for size in sizes:
        apart.append(_decoded(given[end : end + size], count))
        end += size
    if into is None or layout.lead or len(into) < length:
        # The words, not the first byte, start where the processor likes it.
        into = np.empty(layout.width + length, np.uint8).data[-layout.lead % layout.width :]
    out = np.frombuffer(into, np.uint8, length)
    out[: inner.start] = given[edges:][: inner.start]
    out[inner.stop :] = given[edges + inner.start : bare]
    _gather(out[inner].view(layout.dtype), _in_order(layout, planes, apart), layout.rotate)
    return into[:length]


def _read_head(stored: bytes | memoryview, length: int) -> tuple[Layout, tuple[int, ...]]:
    """The layout and the stored sizes of the coded planes, as claimed."""
    if len(stored) < _HEAD.size:
        raise _damaged("shorter than its head")
    width, lead, rotate, mask = _HEAD.unpack_from(stored)
    if width not in (2, 4) or lead >= width or lead > length or rotate > 1 or mask >> width:
        raise _damaged("the head says what no writer says")
    layout = Layout(width, lead, bool(rotate), tuple(bool(mask >> number & 1) for number in range(width)))
    coded = sum(layout.coded)
    if len(stored) < _HEAD.size + _SIZE * coded:
        raise _damaged("shorter than its head")
    return layout, struct.unpack_from(f"<{coded}I", stored, _HEAD.size)


def _decoded(frame: Octets, count: int) -> Octets:
    plane = np.frombuffer(unzstd(frame.data, count), np.uint8)
    if len(plane) != count:
        raise _damaged(f"a plane of {len(plane)} bytes where {count} were promised")
    return plane


def _damaged(why: str) -> SnapshotError:
    return SnapshotError("snapshot_unproven", f"the float planes are damaged: {why}")


def _in_order(layout: Layout, bare: Iterable[Octets], apart: Iterable[Octets]) -> list[Octets]:
    bare, apart = iter(bare), iter(apart)
    return [next(apart if coded else bare) for coded in layout.coded]


def _scatter(words: Words, planes: Sequence[Octets], rotate: bool) -> None:
    """Fill the planes from the words. Shifts and casts only: numpy vectorises these, but not strided copies."""
    shifted, negative = np.empty(_STEP, words.dtype), np.empty(_STEP, np.bool_)
    for at in range(0, len(words), _STEP):
        block = words[at : at + _STEP]
        block = block if block.flags.aligned else block.copy()
        scratch, signs = shifted[: len(block)], negative[: len(block)]
        lowest = planes[0][at : at + _STEP]
        lowest[:] = block
        if rotate:
            np.greater(block, np.iinfo(block.dtype).max >> 1, out=signs)
            np.add(lowest, lowest, out=lowest)
            np.add(lowest, signs.view(np.uint8), out=lowest)
        for number, plane in enumerate(planes[1:], 1):
            np.right_shift(block, 8 * number - rotate, out=scratch)
            plane[at : at + _STEP] = scratch


def _gather(words: Words, planes: Sequence[Octets], rotate: bool) -> None:
    """Fill the words from the planes."""
    scratch, low, high = np.empty(_STEP, words.dtype), np.empty(_STEP, np.uint16), np.empty(_STEP, np.uint16)
    for at in range(0, len(words), _STEP):
        block = words[at : at + _STEP]
        lanes = [plane[at : at + _STEP] for plane in planes]
        if len(lanes) == 2:
            _paired(lanes[0], lanes[1], block)
        else:
            bottom = _paired(lanes[0], lanes[1], low[: len(block)])
            _paired(bottom, _paired(lanes[2], lanes[3], high[: len(block)]), block)
        if rotate:
            wide = scratch[: len(block)]
            np.left_shift(block, 8 * words.itemsize - 1, out=wide)
            np.right_shift(block, 1, out=block)
            np.bitwise_or(block, wide, out=block)


def _paired(low: Words, high: Words, out: Words) -> Words:
    """Words twice as wide. Numpy casts within the operation, a few KiB at a time: no pass of its own."""
    np.multiply(high, 1 << 8 * low.itemsize, out=out, dtype=out.dtype)
    return np.add(out, low, out=out, dtype=out.dtype)


def _histograms(lanes: Octets) -> Counts:
    """How often each byte value occurs in each lane: ``(lanes, 256)``."""
    return np.stack([np.bincount(lane, minlength=256) for lane in lanes.T])


def _entropies(counts: Counts) -> Shares:
    """Order-0 entropy of each lane as a share of 8 bits, with what so few bytes hide (Miller and Madow)."""
    total = counts.sum(axis=1)
    seen: Shares = np.log2(total) - (counts * np.log2(np.maximum(counts, 1))).sum(axis=1) / total
    unseen: Shares = ((counts > 0).sum(axis=1) - 1) / (2 * total * np.log(2))
    return (seen + unseen) / 8


def _share(entropies: Shares) -> float:
    """What float planes would leave of a chunk with these lanes."""
    return float(np.where(entropies < _NOISE, entropies, 1).mean()) + _FRAMES


def _lead(entropies: Shares) -> int:
    """Bytes before the first word, if the lane with the least but some entropy is the top byte."""
    return (int(np.where(entropies > _CONSTANT, entropies, 1).argmin()) + 1) % len(entropies)


def _rotated(flat: Octets, lead: int, width: int) -> Octets:
    """The lanes of the sampled words from ``lead`` on, rotated. Few words go wrong, where two pieces meet."""
    words = flat[lead : lead + (len(flat) - lead) // width * width].copy().view(f"<u{width}")
    turned = (words << 1) | (words >> (8 * width - 1))
    return turned.view(np.uint8).reshape(-1, width)


class _Kept(threading.local):
    """An entropy coder for each thread: a match finder as blind as zstd allows, for planes have next to no matches."""

    def __init__(self) -> None:
        self.coder = zstandard.ZstdCompressor(
            compression_params=zstandard.ZstdCompressionParameters(
                strategy=zstandard.STRATEGY_FAST, min_match=7, hash_log=6, window_log=17
            )
        )


_kept = _Kept()
