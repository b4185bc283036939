"""Ports on loopback that pass connections on to a machine: opened, shut, deaf or slow while the port stays the same."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

Door = Literal["open", "shut", "silent"]

_CHUNK = 64 * 1024
_LOWEST = 40_000


@dataclass(eq=False)
class Relay:
    """``target`` says at each connection where the machine listens; None: nowhere. ``mbit`` 0: as fast as it goes."""

    port: int
    target: Callable[[], int | None]
    reserved: socket.socket
    door: Door = "shut"
    mbit: float = 0.0
    server: asyncio.Server | None = None
    tasks: set[asyncio.Task[None]] = field(default_factory=set)


class Relays:
    """All relays of a fake, served by one thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relays", daemon=True)
        self._thread.start()
        self._relays: list[Relay] = []

    def reserve(self, target: Callable[[], int | None]) -> Relay:
        """A port that refuses until its door is set."""
        reserved = _bind(0)
        relay = Relay(reserved.getsockname()[1], target, reserved)
        self._relays.append(relay)
        return relay

    def set_door(self, relay: Relay, door: Door, mbit: float = 0.0) -> None:
        """Returns when it is so. What was connected stays, but for a door that is shut."""
        relay.mbit = mbit
        if door != relay.door:
            self._wait(self._set(relay, door))

    def remove(self, relay: Relay) -> None:
        self.set_door(relay, "shut")
        relay.reserved.close()
        self._relays.remove(relay)

    def close(self) -> None:
        for relay in list(self._relays):
            self.remove(relay)
        self._wait(_end_tasks())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _wait(self, work: Coroutine[None, None, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _set(self, relay: Relay, door: Door) -> None:
        relay.door = door
        if door == "shut":
            if relay.server:
                await self._close(relay.server)
                relay.server = None
            tasks = list(relay.tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        elif relay.server is None:
            relay.server = await asyncio.start_server(
                lambda reader, writer: self._accept(relay, reader, writer), sock=_bind(relay.port)
            )

    async def _close(self, server: asyncio.Server) -> None:
        """First nobody more is let in: a connection that is made for a closed server is never closed itself."""
        for listening in server.sockets:
            self._loop.remove_reader(listening.fileno())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        server.close()

    def _accept(self, relay: Relay, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A task that is cancelled before it began runs nothing of its own, so that others clean up after it."""
        task = self._loop.create_task(_serve(relay, reader, writer))
        relay.tasks.add(task)
        task.add_done_callback(relay.tasks.discard)
        task.add_done_callback(lambda _: writer.transport.abort())


async def _serve(relay: Relay, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    if relay.door == "shut":
        return  # it came in while the door was being shut
    # Either side may hang up, and a door may be shut.
    with suppress(OSError, asyncio.CancelledError):
        await _talk(relay, reader, writer)


async def _end_tasks() -> None:
    """Also those of connections that were just being taken in."""
    await asyncio.sleep(0.01)
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0.01)


async def _talk(relay: Relay, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    port = relay.target()
    if relay.door == "silent":
        await asyncio.Event().wait()
    if port is None:
        return
    inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        await asyncio.gather(_copy(relay, reader, inner_writer), _copy(relay, inner_reader, writer))
    finally:
        inner_writer.transport.abort()


async def _copy(relay: Relay, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while data := await source.read(_CHUNK):
        target.write(data)
        await target.drain()
        if relay.mbit:
            await asyncio.sleep(len(data) * 8 / (relay.mbit * 1e6))
    with suppress(OSError):
        target.write_eof()


def _bind(port: int) -> socket.socket:
    """A socket that does not listen refuses, and keeps the port for the one that will."""
    while True:
        bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(("127.0.0.1", port))
        if bound.getsockname()[1] >= _LOWEST or port:
            return bound
        bound.close()
