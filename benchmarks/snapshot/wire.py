"""One side of an HTTP/1.1 connection, as little of it as the tools here need, and a wire that can be made slow."""

from __future__ import annotations

import fcntl
import io
import mmap
import os
import socket
import threading
import time
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

_BLOCK = 1 << 20
_SHAPED_BLOCK = 128 << 10
_QUEUE = 0.01
_PAGE = 4096


class Bucket:
    """``rate`` bytes a second over all threads: ``take`` waits until the bytes would have gone over the wire.

    A wire has a queue: what a late thread missed of the last ``_QUEUE`` seconds is not lost.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._free_at = 0.0
        self._lock = threading.Lock()

    def take(self, size: int) -> None:
        with self._lock:
            self._free_at = max(time.monotonic() - _QUEUE, self._free_at) + size / self._rate
            wait = self._free_at - time.monotonic()
        if wait > 0.001:
            time.sleep(wait)


@dataclass(slots=True)
class Wire:
    """``rate`` bytes a second in each direction (0: no limit) and ``delay`` seconds to the first byte.

    A new connection costs one delay more, as its handshake would. Slow start and losses are not modelled.
    """

    rate: float = 0.0
    delay: float = 0.0
    received: int = 0
    sent: int = 0
    requests: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _up: Bucket | None = None
    _down: Bucket | None = None

    def __post_init__(self) -> None:
        if self.rate:
            self._up, self._down = Bucket(self.rate), Bucket(self.rate)

    @property
    def block(self) -> int:
        return _SHAPED_BLOCK if self.rate else _BLOCK

    def wait(self) -> None:
        if self.delay:
            time.sleep(self.delay)

    def count(self, received: int = 0, sent: int = 0, requests: int = 0) -> None:
        with self._lock:
            self.received += received
            self.sent += sent
            self.requests += requests

    def take_up(self, size: int) -> None:
        if self._up:
            self._up.take(size)

    def take_down(self, size: int) -> None:
        if self._down:
            self._down.take(size)


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    length: int


class Connection:
    """Requests of one client, one after the other. The body must be taken before the answer is sent."""

    def __init__(self, client: socket.socket, wire: Wire) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = client
        self._wire = wire
        self._reader = client.makefile("rb")
        self._buffer = memoryview(mmap.mmap(-1, wire.block))
        self._left = 0
        wire.wait()

    def next(self) -> Request | None:
        """The next request's head; ``None`` when the client hung up."""
        line = self._reader.readline()
        if not line.strip():
            return None
        method, target, _ = line.decode("latin-1").split(" ", 2)
        headers = {}
        while (line := self._reader.readline()) not in (b"\r\n", b"\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        self._left = int(headers.get("content-length", "0"))
        if headers.get("transfer-encoding") == "chunked":
            # Only restic's «create», which has no body: its end alone.
            if self._reader.readline().strip() != b"0":
                raise ConnectionError("a body in chunks is not understood")
            self._reader.readline()
        if headers.get("expect", "").lower() == "100-continue":
            self._socket.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        parts = urlsplit(target)
        query = dict(parse_qsl(parts.query, keep_blank_values=True)) if parts.query else {}
        self._wire.count(requests=1)
        return Request(method, unquote(parts.path), query, headers, self._left)

    def body(self) -> bytes:
        data = io.BytesIO()
        while block := self._block():
            data.write(block)
        return data.getvalue()

    def body_into(self, fd: int, offset: int = 0) -> int:
        """Write the body at ``offset`` of an open file; its size. Whole pages go past the page cache where that works:
        a store on another machine would take no processor time from who sends.
        """
        start, direct = offset, _set_direct(fd, offset % _PAGE == 0)
        while block := self._block():
            if direct and len(block) % _PAGE:
                direct = _set_direct(fd, False)
            offset += os.pwrite(fd, block, offset)
        return offset - start

    def answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self._wire.wait()
        self._head(status, len(body), headers or {}, body)
        self._wire.count(sent=len(body))

    def answer_file(self, fd: int, start: int, size: int, status: int, headers: dict[str, str]) -> None:
        self._wire.wait()
        self._head(status, size, headers)
        end = start + size
        while start < end:
            block = min(end - start, self._wire.block)
            self._wire.take_down(block)
            start += os.sendfile(self._socket.fileno(), fd, start, block)
        self._wire.count(sent=size)

    def answer_head(self, size: int, headers: dict[str, str]) -> None:
        self._wire.wait()
        self._head(200, size, headers)

    def close(self) -> None:
        self._reader.close()
        self._socket.close()

    def _block(self) -> memoryview | None:
        if not self._left:
            return None
        count = self._reader.readinto(self._buffer[: min(self._left, len(self._buffer))])
        if not count:
            raise ConnectionError("the client hung up within a body")
        self._wire.take_up(count)
        self._wire.count(received=count)
        self._left -= count
        return self._buffer[:count]

    def _head(self, status: int, size: int, headers: dict[str, str], body: bytes = b"") -> None:
        lines = [
            f"HTTP/1.1 {status} -",
            f"Content-Length: {size}",
            *(f"{k}: {v}" for k, v in headers.items()),
        ]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)


def _set_direct(fd: int, wanted: bool) -> bool:
    """Switch direct writes on or off; whether they are on."""
    flags = fcntl.fcntl(fd, fcntl.F_GETFL) & ~os.O_DIRECT
    try:
        fcntl.fcntl(fd, fcntl.F_SETFL, flags | (os.O_DIRECT if wanted else 0))
    except OSError:
        return False
    return wanted
