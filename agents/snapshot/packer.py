"""Fill packs and send them: bytes in flight are bounded, so a slow network slows reading instead of eating memory."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from functools import partial

from agents.snapshot.catalog import Chunk, Pack
from agents.snapshot.format import PACK
from agents.snapshot.level import Level
from agents.snapshot.pipeline import Crew, Growth

IN_FLIGHT = 256 << 20
"""Stored bytes in memory: in open packs, waiting and on their way. Several times what the open ones can hold."""
UPLOADERS = 4
MOST_UPLOADERS = 16
"""More packs than ``IN_FLIGHT`` holds cannot be on their way; the last ones are small."""

_GLANCE = 0.2
"""Seconds after which a waiting thread looks whether another one failed."""


class Packer:
    """One open pack per tier; a full one goes to the uploader threads, of which there are more while that helps.

    ``upload(pack)`` sends ``pack.parts`` and sets ``key`` and ``crc32``; it runs in several threads at once.
    ``moved`` tells the bytes sent so far. ``readers`` is how many threads call ``add``.
    """

    def __init__(
        self,
        upload: Callable[[Pack], None],
        moved: Callable[[], int],
        readers: int,
    ) -> None:
        self._upload = upload
        self._open = {tier: Pack(tier) for tier in (0, 1)}
        self._locks = {tier: threading.Lock() for tier in (0, 1)}
        self._room = threading.Condition()
        self._in_flight = 0
        self._level = Level(readers)
        self._queue: queue.SimpleQueue[Pack | None] = queue.SimpleQueue()
        growth = Growth(UPLOADERS, MOST_UPLOADERS, moved, lambda: self._in_flight > IN_FLIGHT * 3 // 4)
        packs = iter(self._queue.get, None)
        self._crew = Crew((partial(self._send, pack) for pack in packs if pack), UPLOADERS, growth)

    @property
    def level(self) -> int:
        """The zstd level at which the next chunk is worth compressing."""
        return self._level.value

    def add(self, tier: int, chunk: Chunk, stored: bytes | bytearray) -> None:
        """Put a chunk's stored bytes into a pack. Blocks while too much is in flight; raises what an upload raised."""
        self._reserve(len(stored))
        with self._locks[tier]:
            pack = self._open[tier]
            if pack.parts and pack.size + len(stored) > PACK:
                self._queue.put(pack)
                pack = self._open[tier] = Pack(tier)
            chunk.pack, chunk.offset, chunk.stored = pack, pack.size, len(stored)
            pack.parts.append(stored)
            pack.chunks.append(chunk)
            pack.size += len(stored)

    def finish(self) -> None:
        """Send what is open and wait until everything is stored. Raises the first failure."""
        for pack in self._open.values():
            if pack.parts:
                self._queue.put(pack)
        self._queue.put(None)
        self._crew.join()

    def abandon(self) -> None:
        """Begin nothing more. An upload in the middle may go on for a while: its thread ends with it."""
        self._crew.errors.append(RuntimeError("the freeze was abandoned"))
        self._queue.put(None)

    def _reserve(self, size: int) -> None:
        began = time.monotonic()
        with self._room:
            while not self._crew.errors and self._in_flight + size > IN_FLIGHT:
                self._room.wait(_GLANCE)
            self._in_flight += size
        if self._crew.errors:
            raise self._crew.errors[0]
        self._level.waited(time.monotonic() - began)

    def _send(self, pack: Pack) -> None:
        self._upload(pack)
        pack.parts = []
        with self._room:
            self._in_flight -= pack.size
            self._room.notify_all()
        if self._in_flight < IN_FLIGHT // 2:
            self._level.starved()
