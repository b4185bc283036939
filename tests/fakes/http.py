"""The socket of a fake: HTTP/1.1 with connections that stay, each answer in one write."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True, slots=True)
class Request:
    """``path`` ends with a slash; ``body`` is the JSON object that came, empty if none did."""

    method: str
    path: str
    query: Mapping[str, str]
    body: dict[str, Any]
    headers: Mapping[str, str]
    client: str = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Reply:
    """``status`` 0: the connection ends without an answer."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


HANG_UP = Reply(0)
BAD_GATEWAY = Reply(
    502, b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>", "text/html"
)

Answer = Callable[[Request], Reply]


def as_json(document: Any, status: int = 200, **headers: str) -> Reply:
    """The content type is exactly ``application/json``: the official client refuses a charset."""
    return Reply(status, json.dumps(document).encode(), headers=headers)


def as_text(text: str, status: int = 200) -> Reply:
    return Reply(status, text.encode(), "text/plain")


class Server(ThreadingHTTPServer):
    """Serves from ``start`` to ``stop``, in threads that have all ended when ``stop`` returns.

    ``garbled`` is what a body is answered that is no JSON object.
    """

    daemon_threads = False
    request_queue_size = 256

    def __init__(self, answer: Answer, garbled: Reply, port: int = 0, name: str = "fake") -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.answer, self.garbled = answer, garbled
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), name=name)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.shutdown()
        self._thread.join()
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # whoever hangs up early is a test of its own


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and body leave together

    def _serve(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            body = json.loads(raw) if raw else {}
        except ValueError:
            body = None
        server = cast(Server, self.server)
        self._send(server.answer(self._request(body)) if isinstance(body, dict) else server.garbled)

    do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815

    def _request(self, body: dict[str, Any]) -> Request:
        split = urlsplit(self.path)
        return Request(
            method=self.command,
            path=split.path if split.path.endswith("/") else split.path + "/",
            query=dict(parse_qsl(split.query, keep_blank_values=True)),
            body=body,
            headers={name.lower(): value for name, value in self.headers.items()},
            client=self.client_address[0],
        )

    def _send(self, reply: Reply) -> None:
        if reply.status == 0:
            self.close_connection = True
            return
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.content_type)
        if reply.status != 204:
            self.send_header("Content-Length", str(len(reply.body)))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body)
        self.wfile.flush()

    def log_message(self, *args: Any) -> None:
        pass
