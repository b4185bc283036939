from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from agents.gpu import GpuSample, GpuState, GpuUnavailable
from agents.gpu_watch import GpuWatch

PERIOD = 0.04


class Reader:
    def __init__(self, look: Callable[[], list[float | None]]) -> None:
        self._look = look

    def read(self) -> GpuSample:
        return GpuSample(tuple(GpuState("", used, None, None) for used in self._look()))


def told(look: Callable[[], list[float | None]], seconds: float = 20 * PERIOD) -> list[str]:
    """What the watch tells within some seconds."""
    reasons: list[str] = []
    heard = threading.Event()

    def busy(why: str) -> None:
        reasons.append(why)
        heard.set()

    with GpuWatch(Reader(look), 10.0, busy, PERIOD):
        heard.wait(seconds)
    return reasons


def fail() -> list[float | None]:
    raise GpuUnavailable("no driver")


def hang() -> list[float | None]:
    time.sleep(1)
    return [0.0]


def test_idle_gpus_disturb_nobody() -> None:
    assert told(lambda: [0.0, 10.0]) == []


def test_one_busy_gpu_is_told_once() -> None:
    assert told(lambda: [0.0, 55.0]) == ["a GPU is at 55 %, more than 10 %"]


@pytest.mark.parametrize("look", [fail, hang, lambda: [0.0, None]])
def test_gpus_that_cannot_be_read_count_as_busy(look: Callable[[], list[float | None]]) -> None:
    assert told(look) == ["the GPUs cannot be read"]


def test_two_misses_are_forgiven() -> None:
    looks = iter([[0.0], [None], [None], *[[0.0]] * 1000])
    assert told(lambda: next(looks)) == []


def test_nothing_is_told_after_the_end() -> None:
    reasons: list[str] = []
    with GpuWatch(Reader(lambda: [0.0]), 10.0, reasons.append, PERIOD):
        pass
    time.sleep(6 * PERIOD)
    assert reasons == []
