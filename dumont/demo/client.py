"""Dumont's HTTP API with a person's token, as curl would use it."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from typing import Any

from .errors import DemoFailed

_PATIENCE = 20.0


class Client:
    """Reads are repeated for 20 s while the web restarts; what changes something is sent once."""

    def __init__(self, base_url: str, token: str) -> None:
        self._base = base_url
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        # A proxy of the environment has no business on this machine's own loopback.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(self, path: str) -> dict[str, Any]:
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                return self._send("GET", path, None)
            except urllib.error.HTTPError as error:
                raise _refused(error) from None
            except OSError as error:
                if time.monotonic() > deadline:
                    raise DemoFailed(f"{self._base}{path} does not answer: {error}", "web") from None
                time.sleep(0.2)

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._change("POST", path, body)

    def put(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._change("PUT", path, body)

    def _change(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._send(method, path, body)
        except urllib.error.HTTPError as error:
            raise _refused(error) from None
        except OSError as error:
            raise DemoFailed(f"{method} {path}: {error}", "web") from None

    def _send(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._base + path, data, self._headers, method=method)  # noqa: S310
        with self._opener.open(request, timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)
            return found


def _refused(error: urllib.error.HTTPError) -> DemoFailed:
    with error:
        said = error.read().decode(errors="replace")
    try:
        said = json.loads(said)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        said = said[:300]
    return DemoFailed(f"{error.url} answered {error.code}: {said}", "web")
