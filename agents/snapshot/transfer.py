"""The machine's side of moving bytes: ask the control plane for signed URLs, then plain PUT and ranged GET on them.

The machine holds no key of the store. One connection per thread and host; every wait has an end.
"""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from agents.snapshot.errors import SnapshotError
from agents.snapshot.urls import Downloads, Signed, Uploads

_BLOCK = 1 << 20
_LIMITED_BLOCK = 64 << 10
"""Small enough that a capped connection never looks dead to the other side."""
_MAX_REPLY = 8 << 20


@dataclass(frozen=True, slots=True)
class Retry:
    """At most ``attempts`` tries, waiting ``first`` seconds, then twice as long, up to ``longest``, with jitter."""

    attempts: int = 10
    first: float = 0.2
    longest: float = 15.0

    def wait(self, attempt: int) -> None:
        time.sleep(min(self.first * 2**attempt, self.longest) * random.uniform(0.5, 1.0))


class Bucket:
    """At most ``rate`` bytes a second over all threads; bytes not taken are not saved up."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._free_at = 0.0
        self._lock = threading.Lock()

    def take(self, size: int) -> None:
        with self._lock:
            self._free_at = max(time.monotonic(), self._free_at) + size / self._rate
            wait = self._free_at - time.monotonic()
        time.sleep(max(wait, 0))


class Transfer:
    """Uploads and downloads of one snapshot. Any thread may call it. ``limit_bps`` caps both directions together."""

    def __init__(
        self,
        control_url: str,
        token_file: Path,
        snapshot: str,
        *,
        limit_bps: int | None = None,
        retry: Retry | None = None,
        timeout: float = 60.0,
    ) -> None:
        self._base = f"{control_url.rstrip('/')}/api/agent/snapshots/{quote(snapshot, safe='')}"
        self._token_file = token_file
        self._retry = retry or Retry()
        self._timeout = timeout
        self._bucket = Bucket(limit_bps) if limit_bps else None
        self._block = _LIMITED_BLOCK if limit_bps else _BLOCK
        self._local = threading.local()
        self._all: list[http.client.HTTPConnection] = []
        self._is_closed = False
        self._moved: dict[int, int] = {}
        self._uploads = Uploads(lambda wishes: self._ask("uploads", {"objects": wishes}, len(wishes)))
        self._downloads = Downloads(lambda keys: self._ask("downloads", {"keys": keys}, len(keys)))

    @property
    def moved(self) -> int:
        """Bytes of objects sent and received so far, tries that failed included."""
        return sum(list(self._moved.values()))

    def upload(self, kind: str, tier: int, parts: Sequence[bytes | bytearray], size: int, crc32: str) -> str:
        """Store one object and return its key. An expired or refused URL is replaced, and its key with it."""
        wish = {"kind": kind, "tier": tier, "size": size, "crc32": crc32}
        signed, sent = None, False
        reason = ""
        for attempt in range(self._retry.attempts):
            if signed is None:
                signed, sent = self._uploads.get(wish), False
            try:
                status, reply = self._exchange("PUT", signed.url, {**signed.headers}, parts, size)
            except (OSError, http.client.HTTPException) as error:
                reason, sent = f"{type(error).__name__}: {error}", True
            else:
                if 200 <= status < 300 or (status == 412 and sent):
                    return (
                        signed.key
                    )  # 412: it is there already, so it was the answer to an earlier try that got lost
                reason, sent = f"HTTP {status} {reply[:200].decode(errors='replace')}", True
                if 400 <= status < 500:
                    signed = None
            self._retry.wait(attempt)
        raise SnapshotError("upload_failed", f"the store did not take a {kind} of {size} bytes: {reason}")

    def expect(self, keys: Sequence[str]) -> None:
        """These objects will be downloaded, in about this order: their URLs are asked for in few requests, at once."""
        self._downloads.expect(keys)
        if keys:
            threading.Thread(target=self._ask_ahead, args=(keys[0],), daemon=True, name="ask-ahead").start()

    def _ask_ahead(self, key: str) -> None:
        """Whoever wants to download waits for this answer, and asks anew if there is none."""
        with suppress(Exception):  # the job may have ended, and closed the connection, meanwhile
            self._downloads.get(key)

    def download(self, key: str, start: int, into: memoryview) -> None:
        """Fill ``into`` with the bytes of an object from ``start`` on.

        ``snapshot_unproven`` when the object is missing or shorter, ``download_failed`` when nothing else helped.
        """
        reason = ""
        for attempt in range(self._retry.attempts):
            signed = self._downloads.get(key)
            if signed is None:
                raise SnapshotError("control_unreachable", f"the control plane gave no URL for {key}")
            headers = {**signed.headers, "Range": f"bytes={start}-{start + len(into) - 1}"}
            try:
                status, _ = self._exchange("GET", signed.url, headers, into=into)
            except (OSError, http.client.HTTPException) as error:
                reason = f"{type(error).__name__}: {error}"
            else:
                if status == 206:
                    return
                if status in (404, 416):
                    raise SnapshotError("snapshot_unproven", f"{key} is missing or short (HTTP {status})")
                reason = f"HTTP {status}"
                if status in (400, 401, 403):
                    self._downloads.forget(signed)
            self._retry.wait(attempt)
        raise SnapshotError("download_failed", f"{key} could not be read: {reason}")

    def close(self) -> None:
        """A thread that is in the middle of a request ends its connection itself."""
        self._is_closed = True
        for connection in self._all:
            connection.close()

    def _ask(self, what: str, body: dict[str, Any], count: int) -> list[Signed]:
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
                    return _signed_objects(reply, count)
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
        parts: Iterable[bytes | bytearray] = (),
        size: int = 0,
        into: memoryview | None = None,
    ) -> tuple[int, bytes]:
        """One request and its whole reply: a partial one (206) goes ``into`` the buffer, others are returned.

        A connection that failed is closed; the next try opens a new one.
        """
        address = urlsplit(url)
        connection = self._connection(address.scheme, address.netloc)
        target = address.path + (f"?{address.query}" if address.query else "")
        try:
            if method != "GET":
                headers = {**headers, "Content-Length": str(size)}
            body = self._sending(parts, method == "PUT") if method != "GET" else None
            try:
                connection.request(method, target, body, headers)
            except (BrokenPipeError, ConnectionResetError):
                return _early_reply(connection)
            with connection.getresponse() as response:
                if into is not None and response.status == 206:
                    self._receive(response, into)
                    return 206, b""
                reply = response.read(_MAX_REPLY)
                if response.read(1):
                    raise http.client.HTTPException("the reply is longer than asked for")
                return response.status, reply
        except BaseException:
            connection.close()
            raise
        finally:
            if self._is_closed:
                connection.close()

    def _sending(self, parts: Iterable[bytes | bytearray], is_object: bool) -> Iterator[memoryview]:
        for part in parts:
            view = memoryview(part)
            for start in range(0, len(view), self._block):
                block = view[start : start + self._block]
                if is_object:
                    self._count(len(block))
                yield block

    def _receive(self, response: http.client.HTTPResponse, into: memoryview) -> None:
        """Exactly ``into``. Less because the object ends is the object's fault, less for any other reason is not."""
        promised = response.length
        if promised is not None and promised < len(into):
            raise SnapshotError("snapshot_unproven", f"{len(into)} bytes wanted, {promised} there")
        while into:
            got = response.readinto(into[: self._block])
            if not got:
                raise http.client.HTTPException("the connection ended early")
            self._count(got)
            into = into[got:]
        if response.read(1):
            raise http.client.HTTPException("the reply is longer than asked for")

    def _count(self, size: int) -> None:
        if self._bucket:
            self._bucket.take(size)
        thread = threading.get_ident()
        self._moved[thread] = self._moved.get(thread, 0) + size

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


def _signed_objects(reply: bytes, count: int) -> list[Signed]:
    try:
        objects = json.loads(reply)["objects"]
        signed = [Signed(str(o["key"]), str(o["url"]), dict(o.get("headers") or {})) for o in objects]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SnapshotError(
            "control_unreachable", f"the control plane's answer makes no sense: {error}"
        ) from error
    if len(signed) != count:
        raise SnapshotError("control_unreachable", f"the control plane gave {len(signed)} URLs for {count}")
    return signed
