"""What the machine makes of a store and a control plane that misbehave."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from agents.snapshot.errors import SnapshotError
from agents.snapshot.transfer import Retry, Transfer

pytestmark = pytest.mark.network

BODY = bytes(range(256)) * 1000
Answer = Callable[["Handler"], None]


def status(code: int) -> Answer:
    return lambda handler: handler.reply(code, b"")


def hang_up(handler: Handler) -> None:
    handler.close_connection = True


def whole(handler: Handler) -> None:
    handler.reply(206, BODY)


def half_and_hang_up(handler: Handler) -> None:
    handler.reply(206, BODY[:1000], length=len(BODY))
    handler.close_connection = True


def short(handler: Handler) -> None:
    handler.reply(206, BODY[:1000])


def long(handler: Handler) -> None:
    handler.reply(206, BODY + b"more")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    script: list[Answer]
    asked: list[str]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        count = len(body.get("objects") or body["keys"])
        self.asked.append(self.path)
        url = f"http://127.0.0.1:{self.server.server_address[1]}"
        keys = body.get("keys") or [f"key-{len(self.asked)}-{n}" for n in range(count)]
        objects = [{"key": key, "url": f"{url}/{key}?{len(self.asked)}", "headers": {}} for key in keys]
        self.reply(200, json.dumps({"objects": objects}).encode())

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.script.pop(0)(self)

    def do_GET(self) -> None:
        self.script.pop(0)(self)

    def reply(self, code: int, body: bytes, length: int | None = None) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


class Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *args: object) -> None:
        pass


@pytest.fixture
def handler() -> Iterator[type[Handler]]:
    kind = type("Scripted", (Handler,), {"script": [], "asked": []})
    server = Quiet(("127.0.0.1", 0), kind)
    kind.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield kind
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def transfer(handler: type[Handler], tmp_path: Path) -> Iterator[Transfer]:
    (tmp_path / "token").write_text("token")
    retry = Retry(attempts=4, first=0.001, longest=0.002)
    found = Transfer(handler.url, tmp_path / "token", "s1", retry=retry, timeout=5)
    yield found
    found.close()


def fetch(transfer: Transfer) -> bytes:
    into = bytearray(len(BODY))
    transfer.download("k", 0, memoryview(into))
    return bytes(into)


@pytest.mark.parametrize(
    ("script", "key"),
    [
        ([hang_up, status(412)], "key-1-0"),  # stored, and only the answer was lost
        ([status(500), status(412)], "key-1-0"),
        ([status(412), status(200)], "key-2-0"),  # somebody else's: under another name, please
        ([status(409), status(200)], "key-2-0"),
        ([status(403), status(200)], "key-2-0"),
        ([hang_up, hang_up, status(201)], "key-1-0"),
    ],
)
def test_an_upload_ends_under_the_key_that_is_stored(
    transfer: Transfer, handler: type[Handler], script: list[Answer], key: str
) -> None:
    handler.script[:] = script
    assert transfer.upload("pack", 1, [BODY], len(BODY), "0" * 8) == key
    assert handler.script == []


def test_an_upload_that_nothing_helps_is_named(transfer: Transfer, handler: type[Handler]) -> None:
    handler.script[:] = [hang_up, status(503), status(403), status(507)]
    with pytest.raises(SnapshotError, match="HTTP 507") as failure:
        transfer.upload("pack", 1, [BODY], len(BODY), "0" * 8)
    assert failure.value.code == "upload_failed"


@pytest.mark.parametrize("fault", [hang_up, half_and_hang_up, long, status(500), status(403), status(200)])
def test_a_download_is_tried_again(transfer: Transfer, handler: type[Handler], fault: Answer) -> None:
    handler.script[:] = [fault, whole]
    assert fetch(transfer) == BODY


@pytest.mark.parametrize("fault", [short, status(404), status(416)])
def test_an_object_that_is_missing_or_short_is_not_tried_again(
    transfer: Transfer, handler: type[Handler], fault: Answer
) -> None:
    handler.script[:] = [fault, whole]
    with pytest.raises(SnapshotError) as failure:
        fetch(transfer)
    assert failure.value.code == "snapshot_unproven"


def test_a_refused_url_is_replaced_and_others_are_kept(transfer: Transfer, handler: type[Handler]) -> None:
    handler.script[:] = [whole, status(403), whole, status(500), whole]
    for _ in range(3):
        fetch(transfer)
    assert len(handler.asked) == 2


def test_a_cap_slows_both_directions_together(handler: type[Handler], tmp_path: Path) -> None:
    (tmp_path / "token").write_text("token")
    capped = Transfer(handler.url, tmp_path / "token", "s1", limit_bps=2 * len(BODY))
    handler.script[:] = [status(200), whole]
    began = time.monotonic()
    try:
        capped.upload("pack", 1, [BODY], len(BODY), "0" * 8)
        fetch(capped)
    finally:
        capped.close()
    assert 0.9 < time.monotonic() - began < 3
    assert capped.moved == 2 * len(BODY)


def test_urls_that_will_be_wanted_are_asked_for_at_once(transfer: Transfer, handler: type[Handler]) -> None:
    transfer.expect(["k", "l"])
    wait_for_the_asking()
    assert len(handler.asked) == 1
    handler.script[:] = [whole]
    assert fetch(transfer) == BODY
    assert len(handler.asked) == 1


def test_asking_ahead_in_vain_keeps_no_download_from_asking(
    transfer: Transfer, handler: type[Handler], tmp_path: Path
) -> None:
    (tmp_path / "token").unlink()
    transfer.expect(["k"])
    wait_for_the_asking()
    (tmp_path / "token").write_text("token")
    handler.script[:] = [whole]
    assert fetch(transfer) == BODY


def wait_for_the_asking() -> None:
    for thread in threading.enumerate():
        if thread.name == "ask-ahead":
            thread.join()


def test_a_thread_that_goes_on_after_the_close_leaves_no_connection_open(
    transfer: Transfer, handler: type[Handler]
) -> None:
    handler.script[:] = [whole]
    transfer.close()
    assert fetch(transfer) == BODY
    assert [one.sock for one in transfer._all] == [None]
