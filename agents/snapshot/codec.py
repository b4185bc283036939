"""How the bytes of a chunk are stored. A codec id, once written to a manifest, keeps its meaning for ever.

Every codec decodes on a plain CPU with open libraries, and decoding never allocates more than it was promised.
"""

from __future__ import annotations

import threading

import zstandard

from agents.snapshot.errors import SnapshotError

RAW = 0
ZSTD = 1
CODECS = frozenset({RAW, ZSTD})

_PROBE_SAMPLES = 16
_PROBE_BYTES = 4096
_WORTH_IT = 0.97
_MAX_WINDOW = 1 << 27

_local = threading.local()


def encode(raw: bytes | memoryview) -> tuple[int, bytes]:
    """``(codec id, stored bytes)``. A probe of 64 KiB decides; file names are never asked."""
    if _looks_compressible(raw):
        packed = _compressor().compress(raw)
        if len(packed) < len(raw):
            return ZSTD, packed
    return RAW, bytes(raw)


def decode(codec: int, stored: bytes | memoryview, length: int) -> bytes | memoryview:
    """The ``length`` original bytes, or ``SnapshotError('snapshot_unproven')``. Safe on hostile input."""
    if codec == RAW:
        raw: bytes | memoryview = stored
    elif codec == ZSTD:
        raw = unzstd(stored, length)
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


def _looks_compressible(raw: bytes | memoryview) -> bool:
    size = len(raw)
    if size <= _PROBE_SAMPLES * _PROBE_BYTES:
        return size > 0
    stride = (size - _PROBE_BYTES) // (_PROBE_SAMPLES - 1)
    sample = b"".join(raw[at : at + _PROBE_BYTES] for at in range(0, size - _PROBE_BYTES + 1, stride))
    return len(_compressor().compress(sample)) < _WORTH_IT * len(sample)


def _compressor() -> zstandard.ZstdCompressor:
    """One per thread: the object keeps 1 MB of tables, and two threads must not share it."""
    found = getattr(_local, "compressor", None)
    if found is None:
        found = _local.compressor = zstandard.ZstdCompressor(level=1)
    return found
