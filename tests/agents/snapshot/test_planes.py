from __future__ import annotations

import random
import threading
from contextlib import suppress

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from agents.snapshot.codec import PLANES, ZSTD, decode, encode
from agents.snapshot.errors import SnapshotError
from agents.snapshot.planes import Layout, join, split

SIZE = 1 << 20


def weights(count: int) -> NDArray[np.float32]:
    return np.random.default_rng(7).normal(0, 0.02, count).astype("<f4")


def bf16(numbers: NDArray[np.float32]) -> bytes:
    return (numbers.view("<u4") >> 16).astype("<u2").tobytes()


NUMBERS = {
    "bf16": bf16(weights(SIZE // 2)),
    "fp16": weights(SIZE // 2).astype("<f2").tobytes(),
    "fp32": weights(SIZE // 4).tobytes(),
    "second moments": (weights(SIZE // 4) ** 2).tobytes(),
    "bf16 widened to fp32": (weights(SIZE // 4).view("<u4") & 0xFFFF0000).tobytes(),
}
GOALS = {"bf16": 1.49, "fp16": 1.17, "fp32": 1.19, "second moments": 1.15, "bf16 widened to fp32": 2.9}

layouts = st.sampled_from([2, 4]).flatmap(
    lambda width: st.builds(
        Layout,
        st.just(width),
        st.integers(0, width - 1),
        st.booleans(),
        st.tuples(*[st.booleans()] * width),
    )
)


def naive(payload: bytes, length: int) -> bytes:
    """A second decoder, written from the text of docs/snapshot-format.md alone. Only for well-formed payloads."""
    width, lead, rotate, mask = payload[:4]
    coded = [plane for plane in range(width) if mask >> plane & 1]
    sizes = {plane: payload[4 + 4 * n : 8 + 4 * n] for n, plane in enumerate(coded)}
    count = (length - lead) // width
    rest = payload[4 + 4 * len(coded) :]
    edges, rest = rest[: length - count * width], rest[length - count * width :]
    planes = {}
    for plane in range(width):
        if plane not in coded:
            planes[plane], rest = rest[:count], rest[count:]
    for plane in coded:
        size = int.from_bytes(sizes[plane], "little")
        planes[plane], rest = zstandard.ZstdDecompressor().decompress(rest[:size]), rest[size:]
    words = []
    for n in range(count):
        word = sum(planes[plane][n] << 8 * plane for plane in range(width))
        if rotate:
            word = word >> 1 | (word & 1) << 8 * width - 1
        words.append(word.to_bytes(width, "little"))
    assert rest == b""
    return edges[:lead] + b"".join(words) + edges[lead:]


@pytest.mark.parametrize("kind", NUMBERS)
@pytest.mark.parametrize("lead", range(4))
def test_numbers_are_found_at_every_offset_and_shrink_as_promised(kind: str, lead: int) -> None:
    raw = b"\x93\x4e\x55"[:lead] + NUMBERS[kind] + b"odd tail"[: 3 - lead]
    codec, stored = encode(raw)
    assert codec == PLANES
    assert len(raw) / len(stored) >= GOALS[kind]
    assert decode(codec, stored, len(raw)) == raw


@pytest.mark.parametrize("kind", NUMBERS)
def test_another_decoder_can_be_written_from_the_text(kind: str) -> None:
    raw = b"abc" + NUMBERS[kind][: SIZE // 8]
    codec, stored = encode(raw)
    assert codec == PLANES
    assert naive(bytes(stored), len(raw)) == raw


def test_the_example_in_the_text_is_right() -> None:
    payload = bytes.fromhex("02 00 01 00  02 03  FF 00")
    assert decode(PLANES, payload, 4) == naive(payload, 4) == bytes.fromhex("81 7F 01 80")


@pytest.mark.parametrize(
    "raw",
    [
        bytes(SIZE),
        b"the quick brown fox jumps over the lazy dog, " * 9000,
        "".join(random.Random(1).choices("etaoin shrdlu", k=SIZE)).encode(),
    ],
    ids=["zeros", "text", "letters"],
)
def test_what_zstd_does_as_well_is_left_to_it(raw: bytes) -> None:
    codec, stored = encode(raw)
    assert codec == ZSTD
    assert decode(codec, stored, len(raw)) == raw


def test_a_chunk_whose_sample_promised_too_much_is_not_stored_larger(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = random.Random(3).randbytes(SIZE)
    hopeful = Layout(2, 0, False, (True, True))
    monkeypatch.setattr("agents.snapshot.planes.Probe.layout", lambda probe, rival: hopeful)
    assert encode(noise) == (0, noise)


@settings(max_examples=150, deadline=None)
@given(layouts, st.integers(0, 700), st.integers(1, 8), st.randoms(use_true_random=False))
def test_every_length_layout_and_tail_comes_back(
    layout: Layout, length: int, bits: int, rng: random.Random
) -> None:
    raw = bytes(rng.getrandbits(bits) for _ in range(length + layout.lead))
    stored = split(memoryview(raw), layout)
    assert join(stored, len(raw)) == raw
    assert naive(bytes(stored), len(raw)) == raw


@pytest.mark.parametrize("length", [(1 << 17) - 2, 1 << 17, (1 << 17) + 2, (1 << 19) + 1])
def test_the_seams_between_blocks_come_back(length: int) -> None:
    raw = b"?" + NUMBERS["bf16"][: length - 1]
    stored = split(raw, Layout(2, 1, True, (False, True)))
    assert join(stored, length) == raw


def test_memory_at_an_odd_address_is_read_right() -> None:
    shifted = memoryview(b"!" + NUMBERS["fp32"])[1:]
    stored = split(shifted, Layout(4, 0, False, (False, False, False, True)))
    assert join(stored, len(shifted)) == shifted


def test_threads_do_not_share_coders() -> None:
    wrong: list[str] = []

    def work(kind: str) -> None:
        for _ in range(5):
            if decode(*encode(NUMBERS[kind]), SIZE) != NUMBERS[kind]:
                wrong.append(kind)

    threads = [threading.Thread(target=work, args=(kind,)) for kind in NUMBERS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


GOOD = bytes(split(NUMBERS["bf16"][:4001], Layout(2, 1, True, (True, True))))


MALFORMED = {
    "empty": b"",
    "short head": b"\2\0\1",
    "width": b"\3\0\0\0" + bytes(4001),
    "lead": b"\2\2\0\0" + bytes(4001),
    "rotate": b"\2\0\2\0" + bytes(4001),
    "mask": b"\2\0\0\4" + bytes(4001),
    "no sizes": b"\2\0\0\3\0\0\0",
    "too short": b"\2\0\0\0" + bytes(4000),
    "too long": b"\2\0\0\0" + bytes(4002),
    "huge size": b"\2\0\0\2\xff\xff\xff\xff" + bytes(4001),
    "more": GOOD + b"\0",
    "less": GOOD[:-1],
    "sizes swapped": GOOD[:4] + GOOD[8:12] + GOOD[4:8] + GOOD[12:],
}


@pytest.mark.parametrize("stored", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_payload_is_refused(stored: bytes) -> None:
    with pytest.raises(SnapshotError) as caught:
        join(stored, 4001)
    assert caught.value.code == "snapshot_unproven"


@pytest.mark.parametrize("inside", [bytes(1999), bytes(2001), bytes(1 << 24)])
def test_a_plane_of_another_length_is_refused(inside: bytes) -> None:
    frame = zstandard.ZstdCompressor().compress(inside)
    stored = b"\2\0\0\2" + len(frame).to_bytes(4, "little") + bytes(2000) + frame
    with pytest.raises(SnapshotError):
        join(stored, 4000)


def test_a_lead_beyond_the_chunk_is_refused() -> None:
    with pytest.raises(SnapshotError):
        join(b"\4\3\0\0" + b"ab", 2)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255), st.integers(-4, 4))
def test_a_changed_byte_or_length_is_refused_or_keeps_the_length(at: int, value: int, longer: int) -> None:
    broken = GOOD[:at] + bytes([value]) + GOOD[at + 1 :]
    with suppress(SnapshotError):
        assert len(join(broken, 4001 + longer)) == 4001 + longer
