"""A loopback control plane and store for snapshot tests, and a comparison of two trees down to the nanosecond."""

from __future__ import annotations

import json
import os
import secrets
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from agents.snapshot.cipher import Keys
from agents.snapshot.format import ManifestRef
from agents.snapshot.freeze import freeze
from agents.snapshot.progress import Progress
from agents.snapshot.spec import FreezeSpec, ThawSpec, parse_spec
from agents.snapshot.thaw import thaw
from agents.snapshot.transfer import Retry, Transfer
from hibernation.snapshots.filesystem import FilesystemStore, StoreRefused
from hibernation.snapshots.manifest import read_manifest

KEYS = Keys(bytes(range(32)), bytes(range(32, 64)))
TOKEN = "agent-token"
# As the checksum sees it: the lowest bit of the first byte first.
_CRC_POLYNOMIAL = 0x1_DB71_0641


@dataclass
class Cloud:
    """What the server saw and how it shall misbehave: ``fault(method, key)`` returns an HTTP status or ``None``."""

    store: FilesystemStore
    root: Path
    url: str = ""
    puts: list[str] = field(default_factory=list)
    gets: list[str] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    fault: Callable[[str, str], int | None] = lambda method, key: None
    refuse_urls: tuple[int, str] | None = None
    expires: timedelta = timedelta(minutes=5)

    def object_path(self, key: str) -> Path:
        return self.root / key


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cloud: Cloud

    def do_POST(self) -> None:
        cloud = self.cloud
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._json(401, {"error": {"code": "unauthenticated", "message": "no"}})
        if cloud.refuse_urls:
            status, code = cloud.refuse_urls
            return self._json(status, {"error": {"code": code, "message": code}})
        if self.path.endswith("/uploads"):
            cloud.asked += body["objects"]
            return self._json(200, {"objects": [self._put_url(o) for o in body["objects"]]})
        signed = [(key, cloud.store.sign_get(key, expires_in=cloud.expires)) for key in body["keys"]]
        return self._json(
            200, {"objects": [{"key": k, "url": s.url, "headers": s.headers} for k, s in signed]}
        )

    def _put_url(self, wanted: dict[str, Any]) -> dict[str, Any]:
        key = f"test/{wanted['kind']}-{secrets.token_hex(8)}"
        cloud = self.cloud
        signed = cloud.store.sign_put(
            key, size=wanted["size"], crc32=wanted["crc32"], expires_in=cloud.expires
        )
        return {"key": key, "url": signed.url, "headers": signed.headers}

    def do_PUT(self) -> None:
        key, query = self._target()
        status = self.cloud.fault("PUT", key)
        length = int(self.headers["Content-Length"])
        if status:
            self.rfile.read(length)
            return self._json(status, {})
        try:
            self.cloud.store.receive("PUT", key, query, self.rfile, length)
        except StoreRefused as error:
            self.close_connection = True
            return self._json(error.status, {"error": {"code": error.code, "message": error.message}})
        self.cloud.puts.append(key)
        return self._json(201, {})

    def do_GET(self) -> None:
        key, query = self._target()
        status = self.cloud.fault("GET", key)
        if status:
            return self._json(status, {})
        try:
            status, headers, body = self.cloud.store.send("GET", key, query, self.headers.get("Range"))
        except StoreRefused as error:
            return self._json(error.status, {})
        self.cloud.gets.append(key)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        with closing(body):
            for block in body:
                self.wfile.write(block)
        return None

    def _target(self) -> tuple[str, dict[str, str]]:
        parts = urlsplit(self.path)
        return parts.path.removeprefix("/api/store/"), dict(parse_qsl(parts.query))

    def _json(self, status: int, document: dict[str, Any]) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that was killed hangs up; the test looks at what was stored


@contextmanager
def serve_cloud(root: Path) -> Iterator[Cloud]:
    handler = type("Handler", (_Handler,), {})
    server = _Server(("127.0.0.1", 0), handler)
    url = f"http://127.0.0.1:{server.server_address[1]}"
    cloud = Cloud(FilesystemStore(root, url, b"0123456789abcdef"), root, url)
    handler.cloud = cloud
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield cloud
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Box:
    """A machine's folders, and freeze and thaw run in this process with quick retries."""

    home: Path
    cloud: Cloud
    retry: Retry = field(default_factory=lambda: Retry(attempts=3, first=0.01, longest=0.02))

    def __post_init__(self) -> None:
        self.workspace.mkdir(parents=True, exist_ok=True)
        (self.home / "token").write_text(TOKEN + "\n")

    @property
    def workspace(self) -> Path:
        return self.home / "workspace"

    @property
    def state_file(self) -> Path:
        return self.home / "agent" / "state"

    def freeze_spec(self, snapshot: str, parent: str | None = None, **more: Any) -> dict[str, Any]:
        return {"kind": "freeze", "snapshot": snapshot, "parent": parent, **self._common(snapshot), **more}

    def thaw_spec(self, frozen: dict[str, Any]) -> dict[str, Any]:
        """The orders of a thaw of what a freeze returned."""
        expect = {"files": frozen["files"], "bytes": frozen["bytes_logical"]}
        wanted = {"manifest": frozen["manifest"], "expect": expect}
        return {"kind": "thaw", "snapshot": frozen["snapshot"], **wanted, **self._common(frozen["snapshot"])}

    def freeze(self, snapshot: str, parent: str | None = None, **more: Any) -> dict[str, Any]:
        spec = parse_spec(self.freeze_spec(snapshot, parent, **more))
        assert isinstance(spec, FreezeSpec)
        frozen = self._run(spec, f"freeze-{snapshot}")
        manifest = read_manifest(self.cloud.store, ManifestRef(**frozen["manifest"]), spec.keys)
        return frozen | {"packs_all": [pack.key for pack in manifest.packs]}

    def thaw(self, frozen: dict[str, Any], job: str = "thaw") -> dict[str, Any]:
        spec = parse_spec(self.thaw_spec(frozen))
        assert isinstance(spec, ThawSpec)
        return self._run(spec, job)

    def _run(self, spec: FreezeSpec | ThawSpec, job: str) -> dict[str, Any]:
        folder = self.home / "jobs" / job
        folder.mkdir(parents=True, exist_ok=True)
        transfer = Transfer(spec.control_url, spec.token_file, spec.snapshot, retry=self.retry, timeout=5)
        progress = Progress(folder / "progress.json", job, "freeze")
        try:
            if isinstance(spec, FreezeSpec):
                return freeze(spec, folder, progress, transfer)
            return thaw(spec, folder, progress, transfer)
        finally:
            transfer.close()

    def _common(self, snapshot: str) -> dict[str, Any]:
        return {
            "job": f"job-{snapshot}",
            "workspace": str(self.workspace),
            "state_file": str(self.state_file),
            "keys": {"id": KEYS.id.hex(), "cipher": (KEYS.cipher or b"").hex() or None},
            "control_url": self.cloud.url,
            "token_file": str(self.home / "token"),
        }


def same_crc(five: bytes) -> bytes:
    """Five other bytes that, in the place of these, leave the CRC-32 of the whole as it was."""
    return (int.from_bytes(five, "little") ^ _CRC_POLYNOMIAL).to_bytes(5, "little")


def picture(root: Path) -> dict[bytes, tuple[Any, ...]]:
    """Everything a snapshot promises to bring back, by path: kind, mode, owner, times, bytes, links, attributes."""
    found: dict[bytes, tuple[Any, ...]] = {}
    top = os.fsencode(root)
    for folder, dirs, files in os.walk(top):
        dirs.sort()
        for name in [b"", *files, *[d for d in dirs if os.path.islink(os.path.join(folder, d))]]:
            path = os.path.join(folder, name) if name else folder
            found[os.path.relpath(path, top)] = _fact(path)
    return found


def _fact(path: bytes) -> tuple[Any, ...]:
    info = os.lstat(path)
    kind = stat.S_IFMT(info.st_mode)
    if kind == stat.S_IFLNK:
        return ("symlink", os.readlink(path), info.st_mtime_ns, info.st_uid)
    meta = (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid, info.st_mtime_ns)
    xattrs = {name: os.getxattr(path, name) for name in os.listxattr(path) if name.startswith("user.")}
    if kind == stat.S_IFDIR:
        return ("dir", *meta, xattrs)
    if kind == stat.S_IFREG:
        with open(path, "rb") as file:
            return ("file", *meta, xattrs, info.st_nlink, file.read())
    return ("special", kind)
