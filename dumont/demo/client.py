"""Dumont's HTTP API with a person's token, as the command line uses it, and patient."""

from __future__ import annotations

import time
from typing import Any

from dumont.client.errors import ClientError, Refused, Unreachable
from dumont.client.http import Client as ApiClient

from .errors import DemoFailed

_PATIENCE = 20.0


class Client:
    """Reads are repeated for 20 s while the web restarts; what changes something is sent once."""

    def __init__(self, base_url: str, token: str) -> None:
        self._api = ApiClient(base_url, token)

    def get(self, path: str) -> dict[str, Any]:
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                return self._api.get(path)
            except Unreachable as error:
                if time.monotonic() > deadline:
                    raise _failed("GET", path, error) from None
                time.sleep(0.2)
            except ClientError as error:
                raise _failed("GET", path, error) from None

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._api.post(path, body)
        except ClientError as error:
            raise _failed("POST", path, error) from None

    def put(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._api.put(path, body)
        except ClientError as error:
            raise _failed("PUT", path, error) from None


def _failed(method: str, path: str, error: ClientError) -> DemoFailed:
    said = f"answered {error.status}: " if isinstance(error, Refused) else ""
    return DemoFailed(f"{method} {path}: {said}{error.message}", "web")
