"""The machine's test of itself: GPUs that work, that fail or that are not there, and what a download measures."""

from __future__ import annotations

import ctypes
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from agents import selftest
from agents.selftest import Download, compute_fault, measure
from tests.agents.conftest import Run

PATTERN = selftest._PATTERN


class FakeCuda:
    """A driver with ``count`` GPUs, of which the call named ``fails`` fails, or that gives back ``word``."""

    def __init__(self, count: int = 2, fails: str = "", word: int = PATTERN) -> None:
        self.count, self.fails, self.word = count, fails, word
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("cu"):
            raise AttributeError(name)

        def call(*arguments: Any) -> int:
            self.calls.append(name)
            if name == "cuDeviceGetCount":
                arguments[0]._obj.value = self.count
            if name == "cuMemcpyDtoH_v2":
                back = arguments[0]
                back[:] = [self.word] * len(back)
            if name == "cuGetErrorString":
                arguments[1]._obj.value = b"out of order"
            return 999 if name == self.fails else 0

        return call


def fault_of(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: cuda)
    return compute_fault()


def test_every_gpu_is_filled_and_read_and_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda()
    assert fault_of(cuda, monkeypatch) == ""
    for name in ("cuMemAlloc_v2", "cuMemsetD32_v2", "cuMemFree_v2", "cuDevicePrimaryCtxRelease_v2"):
        assert cuda.calls.count(name) == 2


@pytest.mark.parametrize(
    "name", ["cuInit", "cuDeviceGetCount", "cuDevicePrimaryCtxRetain", "cuMemAlloc_v2", "cuMemcpyDtoH_v2"]
)
def test_a_call_that_fails_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    cuda = FakeCuda(fails=name)
    assert fault_of(cuda, monkeypatch).endswith(f"{name.removesuffix('_v2')}: out of order")
    assert cuda.calls.count("cuMemAlloc_v2") - (name == "cuMemAlloc_v2") == cuda.calls.count("cuMemFree_v2")


def test_wrong_bytes_and_no_gpu_are_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "other bytes" in fault_of(FakeCuda(word=1), monkeypatch)
    assert "no GPU" in fault_of(FakeCuda(count=0), monkeypatch)


def test_without_the_drivers_library_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert compute_fault() == ""


def test_the_command_tells_gpus_and_driver(run_agent: Run) -> None:
    request = json.dumps({"downloads": [], "seconds": 1})
    ran = run_agent(command=("-c", f"import sys, io; sys.stdin = io.StringIO({request!r});"
                                   "from agents.__main__ import main; sys.exit(main(['selftest']))"))  # fmt: skip
    answer = json.loads(ran.stdout)
    assert [gpu["name"] for gpu in answer["gpus"]]
    assert (answer["driver"], answer["cuda"], answer["download"]) == ("550.54.15", "12.4", None)


@pytest.fixture
def store() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/refused"):
                self.send_error(403)
                return
            first, last = self.headers["Range"].removeprefix("bytes=").split("-")
            size = int(last) - int(first) + 1
            self.send_response(206)
            self.send_header("Content-Length", str(size))
            self.end_headers()
            if self.path.startswith("/slow"):
                self._slowly()
            else:
                self.wfile.write(bytes(size))

        def _slowly(self) -> None:
            try:
                for _ in range(100):
                    self.wfile.write(bytes(1000))
                    time.sleep(0.02)
            except OSError:
                return

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_several_downloads_add_up(store: str) -> None:
    seen = measure([Download(f"{store}/fast?sig=1", {}, 1_000_000)] * 3, 5.0)
    assert seen["bytes"] == 3_000_000
    assert 0 < seen["seconds"] < 5


def test_a_slow_download_ends_with_its_time(store: str) -> None:
    seen = measure([Download(f"{store}/slow?sig=1", {}, 100_000)], 0.3)
    assert 2_000 <= seen["bytes"] < 50_000
    assert 0.1 < seen["seconds"] < 1


def test_a_download_that_is_refused_is_told_and_costs_nothing(store: str) -> None:
    seen = measure([Download(f"{store}/refused?sig=1", {}, 1000)], 0.3)
    assert (seen["bytes"], seen["seconds"]) == (0, 0.0)
    assert "403" in seen["error"]


def test_one_of_several_that_fails_leaves_the_others(store: str) -> None:
    bad, good = Download(f"{store}/refused?x", {}, 9), Download(f"{store}/fast?x", {}, 50_000)
    assert measure([bad, good], 0.5)["bytes"] == 50_000
