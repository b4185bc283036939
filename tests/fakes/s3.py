"""An S3 server for tests: one bucket on loopback that answers, checks and refuses as AWS does, and fails on demand.

It verifies every signature, so that a URL that works here says what it allows and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import re
import threading
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from xml.sax.saxutils import escape

from hibernation.snapshots.s3 import S3Config
from tests.fakes.s3_auth import Account, Asked, Refused, check_payload, check_signature

# "drop": nothing happens and nobody answers; "lost": it happens and nobody answers; "cut": half the body comes.
Fault = Literal["slow down", "drop", "lost", "wrong bytes", "cut"]
_REFUSED_BY_B2 = re.compile(r"x-amz-checksum-|x-amz-sdk-checksum-")


@dataclass(frozen=True)
class Stored:
    """``digest``: the CRC-32 in base64 that came with the bytes, if one did."""

    data: bytes
    digest: str | None = None
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass
class Bucket:
    """What is stored and how the server shall behave. ``faults`` are used up, one for each request."""

    account: Account = Account("AKIDTEST", "not-a-secret-of-anybody", "auto")
    name: str = "snapshots"
    url: str = ""
    objects: dict[str, Stored] = field(default_factory=dict)
    skew: timedelta = timedelta()
    denied: set[str] = field(default_factory=set)
    faults: deque[Fault] = field(default_factory=deque)
    page: int = 1000
    asked: list[tuple[str, str]] = field(default_factory=list)
    # As B2: no checksums, no conditional writes. ``deaf``: takes the headers and does nothing about them.
    plain: bool = False
    deaf: bool = False

    def put(self, key: str, data: bytes, **facts: Any) -> None:
        """Behind everybody's back."""
        self.objects[key] = Stored(data, **facts)

    def replace(self, key: str, data: bytes) -> None:
        """As if other bytes had arrived: what is attested is true of them."""
        self.objects[key] = Stored(data, s3_crc32(data) if self.objects[key].digest else None)

    def key_of(self, url: str) -> str:
        return unquote(urlsplit(url).path).removeprefix("/").partition("/")[2]

    def now(self) -> datetime:
        return datetime.now(UTC) + self.skew


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    bucket: Bucket
    body: bytes

    def do_GET(self) -> None:
        self._answer({"": self._list}.get(self._key(), self._get))

    def do_HEAD(self) -> None:
        self._answer(self._get)

    def do_PUT(self) -> None:
        self._answer(self._put)

    def do_DELETE(self) -> None:
        self._answer(self._delete)

    def _answer(self, act: Any) -> None:
        bucket = self.bucket
        bucket.asked.append((self.command, self._key()))
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.fault = bucket.faults.popleft() if bucket.faults else None
        if self.fault == "drop":
            self.close_connection = True
            return
        try:
            if self.fault == "slow down":
                raise Refused(503, "SlowDown", "Please reduce your request rate.")
            self._check()
            act()
        except Refused as refused:
            self._refuse(refused)

    def _check(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        url = self.bucket.url + self.path
        named = check_signature(self.bucket.account, Asked(self.command, url, headers), self.bucket.now())
        check_payload(named, self.body)
        if urlsplit(self.path).path.split("/")[1] != self.bucket.name:
            raise Refused(404, "NoSuchBucket", "The specified bucket does not exist")
        action = {"PUT": "s3:PutObject", "DELETE": "s3:DeleteObject"}.get(self.command, "s3:GetObject")
        if ("s3:ListBucket" if not self._key() else action) in self.bucket.denied:
            raise Refused(403, "AccessDenied", "Access Denied")
        if self.bucket.plain:
            self._check_plain(headers)

    def _check_plain(self, headers: dict[str, str]) -> None:
        strange = next(filter(_REFUSED_BY_B2.match, headers), None)
        if strange:
            raise Refused(
                400, "InvalidArgument", f"Unsupported header '{strange}' received for this API call."
            )
        if self.command == "PUT" and "if-none-match" in headers:
            raise Refused(
                501, "NotImplemented", "A header you provided implies functionality that is not implemented."
            )

    def _put(self) -> None:
        bucket, key = self.bucket, self._key()
        if "x-amz-copy-source" in self.headers:
            return self._copy(unquote(self.headers["x-amz-copy-source"]))
        if self.headers.get("Content-Length") is None:
            raise Refused(411, "MissingContentLength", "You must provide the Content-Length HTTP header.")
        claimed = self.headers.get("x-amz-checksum-crc32")
        if not bucket.deaf:
            if claimed is not None and claimed != s3_crc32(self.body):
                raise Refused(
                    400, "BadDigest", "The CRC32 you specified did not match the calculated checksum."
                )
            if self.headers.get("If-None-Match") == "*" and key in bucket.objects:
                raise Refused(412, "PreconditionFailed", "At least one of the pre-conditions did not hold")
        bucket.objects[key] = Stored(self.body, claimed)
        return self._reply(200, b"", {"ETag": f'"{hashlib.md5(self.body).hexdigest()}"'})  # noqa: S324

    def _copy(self, source: str) -> None:
        bucket, (name, _, key) = self.bucket, source.removeprefix("/").partition("/")
        if "s3:GetObject" in bucket.denied:
            raise Refused(403, "AccessDenied", "Access Denied")
        if name != bucket.name or key not in bucket.objects:
            raise Refused(404, "NoSuchKey", "The specified key does not exist.")
        bucket.objects[self._key()] = replace(bucket.objects[key], at=datetime.now(UTC))
        document = b"<CopyObjectResult><ETag>&quot;0&quot;</ETag></CopyObjectResult>"
        self._reply(200, document, {"Content-Type": "application/xml"})

    def _get(self) -> None:
        if self._key() not in self.bucket.objects:
            raise Refused(404, "NoSuchKey", "The specified key does not exist.")
        stored = self.bucket.objects[self._key()]
        data = stored.data
        headers = {"Accept-Ranges": "bytes"}
        if stored.digest and self.headers.get("x-amz-checksum-mode") == "ENABLED":
            headers |= {"x-amz-checksum-crc32": stored.digest, "x-amz-checksum-type": "FULL_OBJECT"}
        if self.fault == "wrong bytes":
            data = bytes(255 - byte for byte in data)
        span = self.headers.get("Range")
        if span is None:
            return self._reply(200, data, headers)
        first, _, last = span.removeprefix("bytes=").partition("-")
        if int(first) >= len(data):
            raise Refused(416, "InvalidRange", "The requested range is not satisfiable")
        end = min(int(last or len(data)) + 1, len(data))
        headers["Content-Range"] = f"bytes {first}-{end - 1}/{len(data)}"
        return self._reply(206, data[int(first) : end], headers)

    def _delete(self) -> None:
        self.bucket.objects.pop(self._key(), None)
        self._reply(204, b"")

    def _list(self) -> None:
        query = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        names = sorted(name for name in self.bucket.objects if name.startswith(query.get("prefix", "")))
        names = [name for name in names if name > query.get("continuation-token", "")]
        page = names[: min(self.bucket.page, int(query.get("max-keys", 1000)))]
        rows = "".join(_row(name, self.bucket.objects[name]) for name in page)
        more = f"<NextContinuationToken>{page[-1]}</NextContinuationToken>" if len(page) < len(names) else ""
        document = (
            f"<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>{str(bool(more)).lower()}"
            f"</IsTruncated>{more}{rows}</ListBucketResult>"
        )
        self._reply(200, document.encode(), {"Content-Type": "application/xml"})

    def _refuse(self, refused: Refused) -> None:
        document = f"<Error><Code>{refused.code}</Code><Message>{escape(refused.message)}</Message></Error>"
        self._reply(refused.status, document.encode(), {"Content-Type": "application/xml"})

    def _reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        if self.fault == "lost":
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.fault == "cut":
            body, self.close_connection = body[: len(body) // 2], True
        self.wfile.write(body)

    def _key(self) -> str:
        return self.bucket.key_of(self.path)

    def log_message(self, *args: Any) -> None:
        pass

    headers: Message


def _row(name: str, stored: Stored) -> str:
    return (
        f"<Contents><Key>{quote(name)}</Key><Size>{len(stored.data)}</Size>"
        f"<LastModified>{stored.at:%Y-%m-%dT%H:%M:%S.000Z}</LastModified></Contents>"
    )


def s3_crc32(data: bytes) -> str:
    """As S3 writes it: the number's four bytes, the highest first, in base64."""
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # whoever hangs up early is a test of its own


@contextmanager
def serve_s3(**behaviour: Any) -> Iterator[Bucket]:
    """A bucket at ``Bucket.url``, path style."""
    bucket = Bucket(**behaviour)
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"bucket": bucket}))
    bucket.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield bucket
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def config_of(bucket: Bucket, /, **options: Any) -> S3Config:
    """How to reach it; ``options`` replace what is right."""
    right = {
        "bucket": bucket.name,
        "region": bucket.account.region,
        "access_key_id": bucket.account.access_key_id,
        "secret_access_key": bucket.account.secret_access_key,
        "endpoint": bucket.url,
        "path_style": True,
    }
    return S3Config(**{**right, **options})
