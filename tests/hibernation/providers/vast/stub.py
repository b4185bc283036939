"""An HTTP server that answers what a test has written down, and keeps what it was asked."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

from hibernation.providers.limiter import Limiter
from hibernation.providers.vast.client import VastClient
from tests.hibernation.providers.free_limiter import FreeLimiter

KEY = "key-of-nobody-0123456789"
DROP = b"drop"
"""In place of an answer: the connection ends."""
CUT = b"cut"
"""In place of an answer: less arrives than was promised."""


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    query: dict[str, str]
    body: Any
    headers: dict[str, str]
    connection: int


@dataclass
class Stub:
    url: str = ""
    answers: deque[tuple[int, bytes, dict[str, str]]] = field(default_factory=deque)
    asked: list[Asked] = field(default_factory=list)

    def says(self, body: Any, status: int = 200, **headers: str) -> Stub:
        """The next answer. Bytes go as they are, anything else as JSON."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.answers.append((status, raw, {name.replace("_", "-"): value for name, value in headers.items()}))
        return self

    @property
    def calls(self) -> list[str]:
        return [f"{one.method} {one.path}" for one in self.asked]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    stub: Stub

    def do_GET(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(
            self.command,
            parts.path,
            dict(parse_qsl(parts.query)),
            json.loads(raw) if raw else None,
            headers,
            self.client_address[1],
        )
        self.stub.asked.append(asked)
        status, body, extra = (
            self.stub.answers.popleft() if self.stub.answers else (599, b"nothing is written", {})
        )
        if body == DROP:
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in extra.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) + (body == CUT)))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection |= body == CUT

    def do_PUT(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.do_GET()

    def do_DELETE(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: Any) -> None:
        return


@contextmanager
def serve() -> Iterator[Stub]:
    stub = Stub()
    handler = type("Handler", (_Handler,), {"stub": stub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    stub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield stub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def client_of(url: str, limiter: FreeLimiter) -> Iterator[VastClient]:
    client = VastClient(url, KEY, cast(Limiter, limiter), sleep=lambda _: None)
    with closing(client):
        yield client
