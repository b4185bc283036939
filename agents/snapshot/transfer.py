"""The machine's side of moving bytes: ask the control plane for signed URLs, then plain PUT and ranged GET on them.

The machine holds no key of the store. One connection per thread and host; every wait has an end.
"""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from agents.snapshot.errors import SnapshotError

_BLOCK = 1 << 20
_MAX_REPLY = 8 << 20
_BATCH = 100


@dataclass(frozen=True, slots=True)
class Signed:
    """One object and the request that may be made for it. ``headers`` are part of the signature."""

    key: str
    url: str
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Retry:
    """At most ``attempts`` tries, waiting ``first`` seconds, then twice as long, up to ``longest``, with jitter."""

    attempts: int = 10
    first: float = 0.2
    longest: float = 15.0

    def wait(self, attempt: int) -> None:
        time.sleep(min(self.first * 2**attempt, self.longest) * random.uniform(0.5, 1.0))


class Transfer:
    """Uploads and downloads of one snapshot. Any thread may call it."""

    def __init__(
        self,
        control_url: str,
        token_file: Path,
        snapshot: str,
        *,
        retry: Retry | None = None,
        timeout: float = 60.0,
    ) -> None:
        self._base = f"{control_url.rstrip('/')}/api/agent/snapshots/{quote(snapshot, safe='')}"
        self._token_file = token_file
        self._retry = retry or Retry()
        self._timeout = timeout
        self._local = threading.local()
        self._signed: dict[str, Signed] = {}
        self._all: list[http.client.HTTPConnection] = []

    def upload(self, kind: str, tier: int, parts: Sequence[bytes | bytearray], size: int, sha256: str) -> str:
        """Store one object and return its key. An expired or refused URL is replaced, and its key with it."""
        wanted = {"objects": [{"kind": kind, "tier": tier, "size": size, "sha256": sha256}]}
        signed = None
        reason = ""
        for attempt in range(self._retry.attempts):
            signed = signed or self._ask("uploads", wanted)[0]
            try:
                status, reply = self._exchange("PUT", signed.url, {**signed.headers}, parts, size)
            except (OSError, http.client.HTTPException) as error:
                reason = f"{type(error).__name__}: {error}"
            else:
                if 200 <= status < 300:
                    return signed.key
                reason = f"HTTP {status} {reply[:200].decode(errors='replace')}"
                if 400 <= status < 500:
                    signed = None
            self._retry.wait(attempt)
        raise SnapshotError("upload_failed", f"the store did not take a {kind} of {size} bytes: {reason}")

    def prepare(self, keys: Sequence[str]) -> None:
        """Ask for the download URLs of these objects in few requests."""
        for start in range(0, len(keys), _BATCH):
            batch = list(keys[start : start + _BATCH])
            for signed in self._ask("downloads", {"keys": batch}):
                self._signed[signed.key] = signed

    def download(self, key: str, start: int, size: int) -> bytes:
        """Exactly ``size`` bytes of an object from ``start``.

        ``snapshot_unproven`` when the object is missing or shorter, ``download_failed`` when nothing else helped.
        """
        reason = ""
        for attempt in range(self._retry.attempts):
            if key not in self._signed:
                self.prepare([key])
            signed = self._signed.get(key)
            if signed is None:
                raise SnapshotError("control_unreachable", f"the control plane gave no URL for {key}")
            headers = {**signed.headers, "Range": f"bytes={start}-{start + size - 1}"}
            try:
                status, body = self._exchange("GET", signed.url, headers, (), 0, limit=size)
            except (OSError, http.client.HTTPException) as error:
                reason = f"{type(error).__name__}: {error}"
            else:
                if status == 206 and len(body) == size:
                    return body
                if status in (404, 416) or status == 206:
                    raise SnapshotError("snapshot_unproven", f"{key} is missing or short (HTTP {status})")
                reason = f"HTTP {status}"
                if status == 403:
                    self._signed.pop(key, None)
            self._retry.wait(attempt)
        raise SnapshotError("download_failed", f"{key} could not be read: {reason}")

    def close(self) -> None:
        for connection in self._all:
            connection.close()

    def _ask(self, what: str, body: dict[str, Any]) -> list[Signed]:
        payload = json.dumps(body).encode()
        reason = ""
        for attempt in range(self._retry.attempts):
            try:
                headers = {"Authorization": f"Bearer {self._token()}", "Content-Type": "application/json"}
                status, reply = self._exchange(
                    "POST", f"{self._base}/{what}", headers, (payload,), len(payload)
                )
            except (OSError, http.client.HTTPException) as error:
                reason = f"{type(error).__name__}: {error}"
            else:
                if status == 200:
                    return _signed_objects(reply)
                reason = _refusal(status, reply)
            self._retry.wait(attempt)
        raise SnapshotError("control_unreachable", f"the control plane gave no URLs: {reason}")

    def _token(self) -> str:
        try:
            return self._token_file.read_text().strip()
        except OSError as error:
            raise SnapshotError("control_refused", f"the token file cannot be read: {error}") from error

    def _exchange(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        parts: Iterable[bytes | bytearray],
        size: int,
        limit: int = _MAX_REPLY,
    ) -> tuple[int, bytes]:
        """One request and its whole reply. A connection that failed is closed; the next try opens a new one."""
        address = urlsplit(url)
        connection = self._connection(address.scheme, address.netloc)
        target = address.path + (f"?{address.query}" if address.query else "")
        try:
            if method != "GET":
                headers = {**headers, "Content-Length": str(size)}
            try:
                connection.request(method, target, iter(parts) if method != "GET" else None, headers)
            except (BrokenPipeError, ConnectionResetError):
                return _early_reply(connection)
            with connection.getresponse() as response:
                body = response.read(limit)
                if response.read(1):
                    raise http.client.HTTPException("the reply is longer than asked for")
                return response.status, body
        except BaseException:
            connection.close()
            raise

    def _connection(self, scheme: str, host: str) -> http.client.HTTPConnection:
        known: dict[tuple[str, str], http.client.HTTPConnection] = self._local.__dict__.setdefault(
            "known", {}
        )
        if (scheme, host) not in known:
            if scheme not in ("http", "https") or not host:
                raise SnapshotError("control_unreachable", f"{scheme}://{host} is not an address")
            make = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
            known[scheme, host] = make(host, timeout=self._timeout, blocksize=_BLOCK)
            self._all.append(known[scheme, host])
        return known[scheme, host]


def _early_reply(connection: http.client.HTTPConnection) -> tuple[int, bytes]:
    """A server that refuses a body answers and hangs up while we still send: its answer tells more than the pipe."""
    try:
        with connection.getresponse() as response:
            return response.status, response.read(_BLOCK)
    finally:
        connection.close()


def _refusal(status: int, reply: bytes) -> str:
    """Why the control plane gave no URLs, if asking again may help; else raises."""
    try:
        error = json.loads(reply)["error"]
        code, message = str(error["code"]), str(error.get("message", ""))
    except (ValueError, TypeError, KeyError, AttributeError):
        code, message = "", ""
    if status == 409:
        raise SnapshotError(
            "cancelled" if code == "operation_cancelled" else "control_refused", message or code
        )
    if 400 <= status < 500 and status not in (408, 425, 429):
        raise SnapshotError("control_refused", f"HTTP {status} {code} {message}".strip())
    return f"HTTP {status} {code}".strip()


def _signed_objects(reply: bytes) -> list[Signed]:
    try:
        objects = json.loads(reply)["objects"]
        signed = [Signed(str(o["key"]), str(o["url"]), dict(o.get("headers") or {})) for o in objects]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SnapshotError(
            "control_unreachable", f"the control plane's answer makes no sense: {error}"
        ) from error
    if not signed:
        raise SnapshotError("control_unreachable", "the control plane's answer has no objects")
    return signed
