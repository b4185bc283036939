"""Fill packs and send them: bytes in flight are bounded, so a slow network slows reading instead of eating memory."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from agents.snapshot.catalog import Chunk, Pack
from agents.snapshot.format import PACK

UPLOADERS = 5
"""With one pack waiting and one open pack per tier: at most 8 packs, 256 MiB, in memory."""

_GLANCE = 0.2
"""Seconds after which a waiting thread looks whether another one failed."""


class Packer:
    """One open pack per tier; a full one goes to the uploader threads.

    ``upload(pack)`` sends ``pack.parts`` and sets ``key`` and ``sha256``; it runs in several threads at once.
    """

    def __init__(self, upload: Callable[[Pack], None]) -> None:
        self._upload = upload
        self._open = {tier: Pack(tier) for tier in (0, 1)}
        self._locks = {tier: threading.Lock() for tier in (0, 1)}
        self._queue: queue.Queue[Pack | None] = queue.Queue(maxsize=1)
        self._errors: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._work, daemon=True, name=f"upload-{n}") for n in range(UPLOADERS)
        ]
        for thread in self._threads:
            thread.start()

    def add(self, tier: int, chunk: Chunk, stored: bytes | bytearray) -> None:
        """Put a chunk's stored bytes into a pack. Blocks while too much is in flight; raises what an upload raised."""
        self._raise()
        full = None
        with self._locks[tier]:
            pack = self._open[tier]
            if pack.parts and pack.size + len(stored) > PACK:
                full, pack = pack, Pack(tier)
                self._open[tier] = pack
            chunk.pack, chunk.offset, chunk.stored = pack, pack.size, len(stored)
            pack.parts.append(stored)
            pack.chunks.append(chunk)
            pack.size += len(stored)
        if full is not None:
            self._send(full)

    def finish(self) -> None:
        """Send what is open and wait until everything is stored. Raises the first failure."""
        for pack in self._open.values():
            if pack.parts:
                self._send(pack)
        for _ in self._threads:
            self._send(None)
        for thread in self._threads:
            thread.join()
        self._raise()

    def abandon(self) -> None:
        """Begin nothing more. An upload in the middle may go on for a while: its thread ends with it."""
        self._errors.append(RuntimeError("the freeze was abandoned"))

    def _send(self, pack: Pack | None) -> None:
        while True:
            self._raise()
            try:
                return self._queue.put(pack, timeout=_GLANCE)
            except queue.Full:
                continue

    def _raise(self) -> None:
        if self._errors:
            raise self._errors[0]

    def _work(self) -> None:
        while not self._errors:
            try:
                pack = self._queue.get(timeout=_GLANCE)
            except queue.Empty:
                continue
            if pack is None:
                return
            try:
                self._upload(pack)
                pack.parts = []
            except BaseException as error:
                self._errors.append(error)
