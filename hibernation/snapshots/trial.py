"""One trial run on a store: its objects, and requests through signed URLs as a machine makes them."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
from dataclasses import dataclass, field
from datetime import timedelta

import urllib3

from agents.snapshot.checksum import crc32_of
from hibernation.domain.errors import StoreError
from hibernation.snapshots.store import SignedRequest, Store

_MINUTES = timedelta(minutes=5)
_CODE = re.compile(rb"<Code>([A-Za-z0-9]{1,64})</Code>")
_MESSAGE = re.compile(rb"<Message>([^<]{0,300})</Message>")


class Wrong(StoreError):
    """The store answered, but not as it must."""

    def __init__(self, message: str, *, reason: str = "", advice: str = "") -> None:
        super().__init__(message)
        self.reason, self.advice = reason, advice


@dataclass(slots=True)
class Trial:
    """One run: the store, the object that the checks share, and every key that may exist now."""

    store: Store
    http: urllib3.PoolManager
    folder: str = field(default_factory=lambda: f"check_store/{secrets.token_hex(8)}")
    data: bytes = field(default_factory=lambda: secrets.token_bytes(20_000))
    reached: bool = False
    written: bool = False
    keys: list[str] = field(default_factory=list)

    @property
    def main(self) -> str:
        return f"{self.folder}/main"

    def sign(self, name: str, data: bytes) -> SignedRequest:
        key = f"{self.folder}/{name}"
        self.keys.append(key)
        return self.store.sign_put(key, size=len(data), crc32=crc32_of([data]), expires_in=_MINUTES)

    def send(self, method: str, signed: SignedRequest, body: bytes = b"", **extra: str) -> tuple[int, bytes]:
        """What a machine does. Redirects are not followed: a machine would not."""
        try:
            reply = self.http.request(
                method, signed.url, body=body or None, headers={**signed.headers, **extra}
            )
        except urllib3.exceptions.HTTPError as error:
            raise Wrong(f"the signed {method} failed: {error}", reason=type(error).__name__) from error
        return reply.status, reply.data

    def put(self, name: str) -> None:
        status, reply = self.send("PUT", self.sign(name, self.data), self.data)
        if not 200 <= status < 300:
            raise refusal("PUT", status, reply)
        self.store.settle(f"{self.folder}/{name}")

    def must_refuse(self, signed: SignedRequest, body: bytes, advice: str) -> str:
        status, reply = self.send("PUT", signed, body)
        if 200 <= status < 300:
            raise Wrong(f"it was stored (HTTP {status})", advice=advice)
        if status >= 500:
            raise refusal("PUT", status, reply)
        return f"HTTP {status}"

    def clean(self) -> list[str]:
        """Removes what may be there; the keys of what could not be."""
        left = []
        for key in dict.fromkeys(self.keys):
            try:
                self.store.delete(key)
            except StoreError:
                left.append(key)
        return left


def refusal(method: str, status: int, reply: bytes) -> Wrong:
    """The store's own words: XML from S3, JSON from the built-in store."""
    code, message = _CODE.search(reply), _MESSAGE.search(reply)
    reason = code[1].decode() if code else str(status)
    said = message[1].decode(errors="replace") if message else ""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        error = json.loads(reply)["error"]
        reason, said = str(error["code"]), str(error["message"])
    return Wrong(f"the signed {method} was answered HTTP {status} {reason} ({said})", reason=reason)
