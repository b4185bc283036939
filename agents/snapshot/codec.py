"""How the bytes of a chunk are stored. A codec id, once written to a manifest, keeps its meaning for ever.

Every codec decodes on a plain CPU with open libraries, and decoding allocates at most twice what it was promised.
"""

from __future__ import annotations

import threading

import zstandard

from agents.snapshot.errors import SnapshotError

RAW = 0
ZSTD = 1
PLANES = 2
CODECS = frozenset({RAW, ZSTD, PLANES})

PIECE = 4096
_PIECES = 16
_WORTH_IT = 0.97
_MAX_WINDOW = 1 << 27


def encode(raw: bytes | memoryview, level: int = 1) -> tuple[int, bytes | memoryview]:
    """``(codec id, stored bytes)``, of which there are never more than of ``raw``.

    A probe of 64 KiB decides; file names are never asked. ``level`` is that of zstd, for what is neither noise nor
    numbers. ``RAW`` gives back the very ``raw``: copy it before its buffer is used again.
    """
    if len(raw) >= _PIECES * PIECE:
        found = _probed(raw)
        if found is not None:
            return found
    packed = _kept.compressor(level).compress(raw)
    return (ZSTD, packed) if len(packed) < len(raw) else (RAW, raw)


def decode(
    codec: int, stored: bytes | memoryview, length: int, into: memoryview | None = None
) -> bytes | memoryview:
    """The ``length`` original bytes, or ``SnapshotError('snapshot_unproven')``. Safe on hostile input.

    ``into``: memory that may be used for them; it begins at a page.
    """
    if codec == RAW:
        raw: bytes | memoryview = stored
    elif codec == ZSTD:
        raw = unzstd(stored, length)
    elif codec == PLANES:
        from agents.snapshot import planes

        raw = planes.join(stored, length, into)
    else:
        raise SnapshotError("snapshot_unproven", f"codec {codec} is unknown")
    if len(raw) != length:
        raise SnapshotError("snapshot_unproven", f"{len(raw)} bytes where {length} were promised")
    return raw


def unzstd(stored: bytes | memoryview, most: int) -> bytes:
    """One whole zstd frame of at most ``most`` decoded bytes.

    The size in the frame's header is checked first: the library would allocate whatever it claims.
    """
    try:
        claimed = zstandard.get_frame_parameters(stored).content_size
        if claimed > most:
            raise SnapshotError("snapshot_unproven", f"the frame claims {claimed} bytes, {most} allowed")
        decoder = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW)
        return bytes(decoder.decompress(stored, max_output_size=most, allow_extra_data=False))
    except zstandard.ZstdError as error:
        raise SnapshotError("snapshot_unproven", f"the zstd frame is damaged: {error}") from error


def zstd(raw: bytes, level: int = 3) -> bytes:
    """One zstd frame with its own checksum: for tables of contents, not for chunks."""
    return bytes(zstandard.ZstdCompressor(level=level, write_checksum=True).compress(raw))


def _sample(raw: bytes | memoryview) -> bytes:
    """Pieces of ``PIECE`` bytes from all over ``raw``, each from a multiple of 4."""
    stride = (len(raw) - PIECE) // (_PIECES - 1) & ~3
    return b"".join(raw[at : at + PIECE] for at in range(0, _PIECES * stride, stride))


def _probed(raw: bytes | memoryview) -> tuple[int, bytes | memoryview] | None:
    """What to store for numbers and for noise; ``None`` for the rest."""
    sample = _sample(raw)
    if sample.isascii():  # text, at the price of a look: its top bits alone save an eighth
        return None
    # Not before there is a chunk that may hold numbers: a freeze that finds nothing changed must not wait for numpy.
    from agents.snapshot import planes

    probe = planes.Probe(sample)
    if probe.is_even:
        return None
    left = min(1, len(_kept.probe.compress(sample)) / len(sample))
    layout = probe.layout(left)
    if layout is not None:
        stored = planes.split(raw, layout)
        if len(stored) < len(raw):
            return PLANES, stored
    return (RAW, raw) if left > _WORTH_IT else None


class _Kept(threading.local):
    """Compressors for each thread, which must not share them: each keeps tables of 1 MB, more at a high level.

    The probe has its own, for a compressor that alternates between small and large inputs sets its tables up anew.
    """

    def __init__(self) -> None:
        self.probe = zstandard.ZstdCompressor(level=1)
        self._last, self._level = zstandard.ZstdCompressor(level=1), 1

    def compressor(self, level: int) -> zstandard.ZstdCompressor:
        """The one of this level. Only the last one asked for is kept."""
        if level != self._level:
            self._last, self._level = zstandard.ZstdCompressor(level=level), level
        return self._last


_kept = _Kept()
