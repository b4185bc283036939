"""A provider's API on loopback that answers from a script and remembers what it was asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TAKEN = (200, b'{"success": true}')
KEY = "box-secret-key"


@dataclass
class Api:
    """``answers`` are used up one by one; after the last one every order is taken."""

    url: str = ""
    answers: list[tuple[int, bytes]] = field(default_factory=list)
    asked: list[tuple[str, str, str, str]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """What the provider sets in the container of rental 555."""
        return {"CONTAINER_ID": "555", "CONTAINER_API_KEY": KEY, "VAST_URL": self.url}


@contextmanager
def provider_api(*answers: tuple[int, bytes]) -> Iterator[Api]:
    api = Api(answers=list(answers))

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            api.asked.append((self.command, self.path, self.headers["Authorization"], body))
            status, answer = api.answers.pop(0) if api.answers else TAKEN
            if status:
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        do_DELETE = do_POST = do_PUT  # noqa: N815

        def log_message(self, *_args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    api.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
