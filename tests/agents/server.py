"""A control plane on loopback that answers heartbeats from a script and remembers what it was sent."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from agents.protocol import GuardTerms


@dataclass
class Scripted:
    """``answers`` are used up one by one: (status, headers, body); after the last one, ``accepted`` for ever."""

    url: str = ""
    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    action: str = "none"
    interval: int = 30
    guard: GuardTerms | None = None
    guard_noted: str = ""
    received: list[dict[str, Any]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    connections: int = 0

    def accepted(self, instance_id: str) -> tuple[int, dict[str, str], bytes]:
        fields = {"status": "running", "action": self.action, "interval": self.interval}
        reply: dict[str, Any] = {"received": True, "instance_id": instance_id, **fields}
        if self.guard is not None:
            reply["guard"] = asdict(self.guard)
        if self.guard_noted:
            reply["guard_noted"] = self.guard_noted
        return 200, {}, json.dumps(reply).encode()


@contextmanager
def control_plane(*answers: tuple[int, dict[str, str], bytes]) -> Iterator[Scripted]:
    script = Scripted(answers=list(answers))
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(script))
    script.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(script: Scripted) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            script.connections += 1

        def do_POST(self) -> None:
            reading = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            script.received.append(reading)
            script.tokens.append(self.headers["Authorization"])
            script.paths.append(self.path)
            answer = script.answers.pop(0) if script.answers else script.accepted(reading["instance_id"])
            self._send(*answer)

        def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = headers.get("Connection") == "close-silently"

        def log_message(self, *_args: object) -> None:
            pass

    return Handler
