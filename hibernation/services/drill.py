"""The restore drill: the agent's own thaw fills a folder here, and what it wrote is compared with the manifest.

The agent runs as on a machine: a job of its own process, which asks for signed URLs and reads through them. A little
server on loopback answers it, so that neither a machine nor the web process is needed.
"""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from django.conf import settings

from agents.snapshot.chunk import unpack_chunk
from hibernation.box.jobs import JobProgress, parse_progress
from hibernation.domain.errors import BoxError, DumontError
from hibernation.models import Snapshot
from hibernation.services.keys import keys_of
from hibernation.services.proving import manifest_ref
from hibernation.snapshots.comparison import Comparison, compare
from hibernation.snapshots.filesystem import FilesystemStore, StoreRefused
from hibernation.snapshots.manifest import Manifest, read_manifest
from hibernation.snapshots.registry import get_store
from hibernation.snapshots.store import Store

_TICK = 0.1
# The database may live on the same disk.
_SPARE = 1 << 30


class DrillFailed(DumontError):
    """The restore did not come to its end, so that there is nothing to compare."""

    code = "drill_failed"


@dataclass(frozen=True, slots=True)
class Drill:
    """``restored`` is the thaw's own result; seconds are wall time."""

    compared: Comparison
    restored: dict[str, Any]
    thaw_seconds: float
    compare_seconds: float


def drill(snapshot: Snapshot, home: Path, progress: Callable[[JobProgress], None]) -> Drill:
    """Restore into ``home/workspace``, a new folder, and compare. ``home`` is left as it is then.

    ``DrillFailed`` or ``SnapshotUnproven`` say why nothing could be compared.
    """
    store, keys = get_store(), keys_of(snapshot.key)
    manifest = read_manifest(store, manifest_ref(snapshot), keys)
    _check_room(manifest, home)
    (home / "workspace").mkdir(mode=0o700)
    began = time.monotonic()
    with _control_plane(store) as (url, token):
        result = _restore(snapshot, home, url, token, progress)
    restored = time.monotonic()

    def fetch(number: int) -> bytes | memoryview:
        chunk = manifest.chunks[number]
        return unpack_chunk(
            keys, chunk, store.read(manifest.packs[chunk.pack].key, chunk.offset, chunk.stored)
        )

    compared = compare(manifest, keys, str(home / "workspace"), fetch)
    return Drill(compared, result, restored - began, time.monotonic() - restored)


def _check_room(manifest: Manifest, home: Path) -> None:
    need = sum(length for file in manifest.files for chunk, _, length in file.refs if chunk >= 0)
    free = shutil.disk_usage(home).free
    if need + _SPARE > free:
        raise DrillFailed(
            f"{home} has room for {free / 1e9:.1f} GB; {(need + _SPARE) / 1e9:.1f} GB are needed."
        )


def _restore(
    snapshot: Snapshot, home: Path, url: str, token: str, progress: Callable[[JobProgress], None]
) -> dict[str, Any]:
    folder = home / "drill"
    folder.mkdir(mode=0o700)
    (home / "token").write_text(token)
    (folder / "spec.json").write_text(json.dumps(_spec(snapshot, home, url)))
    try:
        seen = _job("start", folder)
        while seen.state == "running":
            progress(seen)
            time.sleep(_TICK)
            seen = _job("status", folder)
    finally:
        _job("stop", folder)
        (folder / "spec.json").unlink()  # it holds the workspace's keys
    if seen.state != "done" or seen.result is None:
        why = f"{seen.error.code}: {seen.error.message}" if seen.error else f"the job {seen.state}"
        raise DrillFailed(f"The restore failed. {why}")
    return dict(seen.result)


def _spec(snapshot: Snapshot, home: Path, url: str) -> dict[str, Any]:
    keys = keys_of(snapshot.key)
    return {
        "kind": "thaw",
        "job": "drill",
        "snapshot": snapshot.name,
        "workspace": str(home / "workspace"),
        "state_file": str(home / "state"),
        "keys": {"id": keys.id.hex(), "cipher": keys.cipher.hex() if keys.cipher else None},
        "control_url": url,
        "token_file": str(home / "token"),
        "manifest": asdict(manifest_ref(snapshot)),
        "expect": {"files": snapshot.files, "bytes": snapshot.bytes_logical},
    }


def _job(verb: str, folder: Path) -> JobProgress:
    command = [sys.executable, "-m", "agents", "job", verb, "--dir", str(folder)]
    ran = subprocess.run(command, cwd=settings.BASE_DIR, capture_output=True, text=True, check=False)
    try:
        answer = json.loads(ran.stdout)
    except ValueError:
        raise BoxError(f"The agent said: {(ran.stderr or ran.stdout).strip()[-500:]}") from None
    if "error" in answer and "state" not in answer:
        raise BoxError(str(answer["error"]))
    return parse_progress(answer, folder.name)


@contextmanager
def _control_plane(store: Store) -> Iterator[tuple[str, str]]:
    """Answers one agent's wish for URLs, and serves the objects of a store in a folder: ``(url, token)``."""
    token = secrets.token_hex(16)
    handler = type("Handler", (_Handler,), {"token": token})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    url = f"http://127.0.0.1:{server.server_address[1]}"
    if isinstance(store, FilesystemStore):
        store = FilesystemStore(settings.DUMONT_STORE_ROOT, url, secrets.token_bytes(32))
    handler.store = store  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield url, token
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    store: Store
    token: str

    def do_POST(self) -> None:
        wish = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers.get("Authorization") != f"Bearer {self.token}":
            return self._reply(401, {})
        lifetime = settings.DUMONT_STORE_URL_TTL
        signed = [(key, self.store.sign_get(key, expires_in=lifetime)) for key in wish["keys"]]
        objects = [{"key": key, "url": one.url, "headers": one.headers} for key, one in signed]
        return self._reply(200, {"objects": objects})

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        key, query = address.path.removeprefix("/api/store/"), dict(parse_qsl(address.query))
        if not isinstance(self.store, FilesystemStore):
            return self._reply(404, {})
        try:
            status, headers, body = self.store.send("GET", key, query, self.headers.get("Range"))
        except StoreRefused as error:
            return self._reply(error.status, {})
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        with closing(body):
            for block in body:
                self.wfile.write(block)
        return None

    def _reply(self, status: int, document: dict[str, Any]) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        """Nothing: the job's own log tells more."""
