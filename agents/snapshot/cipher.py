"""A workspace's two keys: one names its chunks, the other seals what is stored.

The control plane derives both from the workspace's data key and hands them to the machine for one job. Sealing is
AES-256-GCM with a random nonce: ``nonce (12) ‖ ciphertext ‖ tag (16)``.
"""

from __future__ import annotations

import os
from functools import cached_property

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from agents.snapshot.errors import SnapshotError

NONCE = 12
OVERHEAD = NONCE + 16
"""Bytes that sealing adds."""
KEY_BYTES = 32
MANIFEST = b"manifest"


class Keys:
    """``id`` keys the BLAKE3 of chunks; ``cipher`` seals them, ``None`` stores them in the clear. 32 bytes each."""

    def __init__(self, id: bytes, cipher: bytes | None) -> None:
        if len(id) != KEY_BYTES or (cipher is not None and len(cipher) != KEY_BYTES):
            raise ValueError(f"a key has {KEY_BYTES} bytes")
        self.id = id
        self.cipher = cipher

    @cached_property
    def _aead(self) -> AESGCM:
        if self.cipher is None:
            raise RuntimeError("this workspace is not encrypted")
        return AESGCM(self.cipher)

    @property
    def overhead(self) -> int:
        return OVERHEAD if self.cipher else 0

    def name(self, data: bytes | memoryview | bytearray) -> str:
        """The id of some bytes: without the key, nobody can tell whether a known file is stored."""
        return blake3(data, key=self.id).hexdigest()

    def mark(self, text: bytes) -> str:
        """A name for this pair of keys, which tells nothing about them."""
        return self.name(text + (blake3(self.cipher, key=self.id).digest() if self.cipher else b""))

    def seal(self, data: bytes | memoryview, context: bytes) -> bytes | bytearray:
        """What is stored for ``data``. Opens only with the same ``context``. The result never shares ``data``."""
        if self.cipher is None:
            return bytes(data)
        sealed = bytearray(len(data) + OVERHEAD)
        sealed[:NONCE] = nonce = os.urandom(NONCE)
        with memoryview(sealed) as view:
            self._aead.encrypt_into(nonce, data, context, view[NONCE:])
        return sealed

    def unseal(
        self, stored: bytes | memoryview, context: bytes, into: memoryview | None = None
    ) -> bytes | memoryview:
        """The sealed bytes, or ``SnapshotError('snapshot_unproven')``: another key, another place, or damage.

        They are put ``into`` this memory if they fit.
        """
        if self.cipher is None:
            return stored
        if len(stored) < OVERHEAD:
            raise SnapshotError("snapshot_unproven", "too short to be encrypted")
        try:
            if into is None or len(into) < len(stored) - OVERHEAD:
                return self._aead.decrypt(bytes(stored[:NONCE]), stored[NONCE:], context)
            opened = into[: len(stored) - OVERHEAD]
            self._aead.decrypt_into(bytes(stored[:NONCE]), stored[NONCE:], context, opened)
            return opened
        except InvalidTag:
            raise SnapshotError("snapshot_unproven", "it does not decrypt: wrong key or damaged") from None


def chunk_context(id: str, codec: int, length: int) -> bytes:
    """What a sealed chunk is bound to: it cannot pass as another one, nor be decoded another way."""
    return bytes.fromhex(id) + bytes((codec,)) + length.to_bytes(8, "big")
