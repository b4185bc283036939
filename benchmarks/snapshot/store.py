"""The store of the benchmark and a stand-in for the control plane, in a process of its own on loopback.

It speaks as much S3 as s5cmd and rclone need and restic's own REST protocol, checks no signature, writes with pwrite
and reads with sendfile: as fast as nginx with dav, and it takes multipart uploads. Its CPU is counted for nobody.
``/_counters`` tells what moved.

    python -m benchmarks.snapshot.store FOLDER [--rate BYTES_PER_SECOND] [--delay SECONDS]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from benchmarks.snapshot.wire import Connection, Request, Wire

PART = 50 << 20
"""Every part of a multipart upload but the last must have this size: parts are written to their place at once."""

_TAG = {"ETag": '"0-1"', "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT", "Accept-Ranges": "bytes"}
_RESTIC = "application/vnd.x.restic.rest.v2"
_SIGNED = re.compile(r"/api/agent/snapshots/([^/]+)/(uploads|downloads)\Z")


@dataclass(frozen=True, slots=True)
class Remote:
    """The running store, seen from the benchmark."""

    url: str

    def counters(self) -> dict[str, int]:
        """Bytes and requests since it started: ``received``, ``sent``, ``requests``."""
        with urllib.request.urlopen(f"{self.url}/_counters", timeout=10) as reply:  # noqa: S310
            return dict(json.load(reply))


@contextmanager
def serve(root: Path, *, rate: float = 0.0, delay: float = 0.0) -> Iterator[Remote]:
    root_env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [
        sys.executable,
        "-m",
        "benchmarks.snapshot.store",
        str(root),
        f"--rate={rate}",
        f"--delay={delay}",
    ]
    with subprocess.Popen(command, env=root_env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Remote(process.stdout.readline().strip())
        finally:
            process.terminate()


class Server:
    def __init__(self, root: Path, wire: Wire) -> None:
        self._root = root
        self._wire = wire
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def run(self) -> None:
        while True:
            client, _ = self._listener.accept()
            threading.Thread(target=self._converse, args=(client,), daemon=True).start()

    def _converse(self, client: socket.socket) -> None:
        connection = Connection(client, self._wire)
        try:
            while request := connection.next():
                self._answer(request, connection)
        except OSError:
            pass  # the client was stopped or killed, which is part of some measurements
        finally:
            connection.close()

    def _answer(self, request: Request, connection: Connection) -> None:
        if request.method == "PUT":
            self._put(request, connection)
        elif request.method == "POST" and _is_restic(request):
            self._post_restic(request, connection)
        elif request.method == "POST":
            connection.answer(200, self._post(request, connection.body()))
        elif request.method == "DELETE":
            with suppress(FileNotFoundError):
                os.unlink(self._path(request.path))
            is_s3 = request.headers.get("authorization", "").startswith("AWS4")
            connection.answer(204 if is_s3 else 200)
        elif request.path == "/_counters":
            wire = self._wire
            facts = {"received": wire.received, "sent": wire.sent, "requests": wire.requests}
            connection.answer(200, json.dumps(facts).encode())
        elif "list-type" in request.query or "delimiter" in request.query or "prefix" in request.query:
            connection.answer(200, self._list(request), {"Content-Type": "application/xml"})
        elif request.method == "GET" and request.path.endswith("/"):
            connection.answer(200, self._list_restic(request), {"Content-Type": _RESTIC})
        else:
            self._get(request, connection)

    def _put(self, request: Request, connection: Connection) -> None:
        part = int(request.query.get("partNumber", "0"))
        self._keep(request, connection, (part - 1) * PART if part else None)
        connection.answer(200, b"", _TAG)

    def _keep(self, request: Request, connection: Connection, offset: int | None = None) -> None:
        """The body as a whole file, or from ``offset`` on in one that is there."""
        whole = os.O_TRUNC if offset is None else 0
        fd = _create(self._path(request.path), os.O_WRONLY | os.O_CREAT | whole)
        try:
            connection.body_into(fd, offset or 0)
        finally:
            os.close(fd)

    def _post(self, request: Request, body: bytes) -> bytes:
        signed = _SIGNED.match(request.path)
        if signed:
            return json.dumps({"objects": self._sign(signed[2], json.loads(body))}).encode()
        bucket, _, key = request.path.strip("/").partition("/")
        names = f"<Bucket>{escape(bucket)}</Bucket><Key>{escape(key)}</Key>"
        if "uploads" in request.query:
            return _xml(
                "InitiateMultipartUploadResult", f"{names}<UploadId>{secrets.token_hex(8)}</UploadId>"
            )
        if "uploadId" in request.query:
            return _xml("CompleteMultipartUploadResult", f"{names}<ETag>0-1</ETag>")
        return b""

    def _sign(self, what: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        if what == "uploads":
            keys = [f"ours/{wanted['kind']}-{secrets.token_hex(8)}" for wanted in body["objects"]]
        else:
            keys = list(body["keys"])
        return [{"key": key, "url": f"{self.url}/{key}", "headers": {}} for key in keys]

    def _list(self, request: Request) -> bytes:
        bucket = self._root / request.path.strip("/")
        prefix = request.query.get("prefix", "")
        found = []
        for folder, _, names in os.walk(bucket):
            for name in names:
                path = os.path.join(folder, name)
                key = os.path.relpath(path, bucket)
                if key.startswith(prefix):
                    found.append(_entry(key, os.stat(path)))
        counted = f"<IsTruncated>false</IsTruncated><KeyCount>{len(found)}</KeyCount>"
        return _xml("ListBucketResult", counted + "".join(sorted(found)))

    def _post_restic(self, request: Request, connection: Connection) -> None:
        """A new repository, or one file of it."""
        if "create" in request.query:
            os.makedirs(self._path(request.path), exist_ok=True)
        else:
            self._keep(request, connection)
        connection.answer(200)

    def _list_restic(self, request: Request) -> bytes:
        try:
            with os.scandir(self._path(request.path)) as entries:
                found = [{"name": one.name, "size": one.stat().st_size} for one in entries if one.is_file()]
        except FileNotFoundError:
            found = []
        return json.dumps(found).encode()

    def _get(self, request: Request, connection: Connection) -> None:
        try:
            fd = os.open(self._path(request.path), os.O_RDONLY)
        except OSError:
            return connection.answer(404)
        try:
            size = os.fstat(fd).st_size
            if request.method == "HEAD":
                return connection.answer_head(size, _TAG)
            return _send_range(connection, fd, size, request.headers.get("range", ""))
        finally:
            os.close(fd)

    def _path(self, path: str) -> str:
        return os.path.join(self._root, path.strip("/"))


def _is_restic(request: Request) -> bool:
    return not _SIGNED.match(request.path) and not {"uploads", "uploadId", "delete"} & request.query.keys()


def _create(path: str, flags: int) -> int:
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return os.open(path, flags, 0o600)


def _xml(name: str, inside: str) -> bytes:
    return f"<{name}>{inside}</{name}>".encode()


def _entry(key: str, info: os.stat_result) -> str:
    stored = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(info.st_mtime))
    facts = f"<LastModified>{stored}</LastModified><ETag>0-1</ETag><Size>{info.st_size}</Size>"
    return f"<Contents><Key>{escape(key)}</Key>{facts}<StorageClass>STANDARD</StorageClass></Contents>"


def _send_range(connection: Connection, fd: int, size: int, wanted: str) -> None:
    match = re.match(r"bytes=(\d+)-(\d*)\Z", wanted)
    if not match:
        return connection.answer_file(fd, 0, size, 200, _TAG)
    start = int(match[1])
    end = min(int(match[2]) if match[2] else size - 1, size - 1)
    if start > end:
        return connection.answer(416)
    headers = {**_TAG, "Content-Range": f"bytes {start}-{end}/{size}"}
    return connection.answer_file(fd, start, end - start + 1, 206, headers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--delay", type=float, default=0.0)
    options = parser.parse_args()
    server = Server(options.folder, Wire(options.rate, options.delay))
    print(server.url, flush=True)
    server.run()


if __name__ == "__main__":
    main()
