from __future__ import annotations

import threading

import pytest

from agents.gpu import GpuSample, GpuState, GpuUnavailable
from agents.protocol import GpuProcess
from agents.sampler import Sampler, Window, overall


def sample(*utilizations: float | None, errors: tuple[str, ...] = ()) -> GpuSample:
    return GpuSample(tuple(GpuState("GPU", u, 100.0, 1000.0) for u in utilizations), (), errors)


def window(*samples: GpuSample, covers: float = 1.0) -> Window:
    filled = Window()
    for one in samples:
        filled.add(one, covers)
    return filled


def test_one_busy_gpu_of_eight_is_the_maximum() -> None:
    summary = window(sample(*[0.0] * 7, 93.0)).close(1)
    assert summary.utilization == 93.0
    assert summary.utilizations == (*[0.0] * 7, 93.0)


def test_one_busy_second_is_the_value_of_the_whole_interval() -> None:
    summary = window(*[sample(0.0)] * 14, sample(60.0), *[sample(0.0)] * 15).close(30)
    assert summary.utilization == 60.0
    assert summary.samples == 30


def test_a_gpu_that_cannot_be_read_is_unknown_and_never_zero() -> None:
    summary = window(*[sample(0.0, None, errors=("GPU 1: lost",))] * 30).close(30)
    assert summary.utilizations == (0.0, None)
    assert summary.utilization is None
    assert summary.errors == ("GPU 1: lost",)


def test_nothing_read_at_all_is_unknown() -> None:
    blind = Window()
    blind.fail("NVML: Driver Not Loaded")
    summary = blind.close(30)
    assert (summary.utilization, summary.utilizations, summary.samples) == (None, (), 0)
    assert summary.errors == ("NVML: Driver Not Loaded",)


def test_the_gpus_known_before_stay_listed_as_unknown_while_the_driver_fails() -> None:
    first = window(sample(0.0, 0.0))
    summary = Window(first.close(1).names).close(30)
    assert summary.names == ("GPU", "GPU")
    assert summary.utilizations == summary.memory_used == (None, None)


def test_fewer_than_half_of_the_samples_do_not_make_a_gpu_idle() -> None:
    assert window(*[sample(0.0)] * 14).close(30).utilization is None
    assert window(*[sample(0.0)] * 16).close(30).utilization == 0.0


def test_too_few_samples_still_tell_that_a_gpu_is_certainly_busy() -> None:
    assert window(sample(99.0)).close(30).utilization == 99.0


def test_a_lower_bound_that_a_threshold_could_call_idle_is_unknown() -> None:
    assert window(sample(4.0)).close(30).utilization is None
    assert overall((4.0, None)) is None


def test_an_unknown_gpu_does_not_hide_a_certainly_busy_one() -> None:
    assert overall((97.0, None)) == 97.0


def test_a_gpu_that_vanishes_makes_the_interval_unknown() -> None:
    summary = window(*[sample(0.0, 0.0)] * 5, *[sample(0.0)] * 25).close(30)
    assert summary.utilizations == (None,)
    assert summary.utilization is None
    assert summary.errors == ("the number of GPUs changed from 2 to 1",)


def test_a_busy_gpu_that_vanishes_still_counts_in_its_interval() -> None:
    assert window(sample(0.0, 98.0), *[sample(0.0)] * 29).close(30).utilization == 98.0


def test_the_interval_after_a_change_is_known_again() -> None:
    names = window(sample(0.0, 0.0), sample(0.0)).close(2).names
    after = Window(names)
    after.add(sample(0.0), 30.0)
    assert after.close(30).utilization == 0.0


def test_processes_and_memory_are_those_of_the_last_sample() -> None:
    process = GpuProcess(7, 0, "python3", 12.0)
    last = GpuSample((GpuState("GPU", 0.0, 300.0, 1000.0),), (process,))
    summary = window(sample(0.0), last).close(2)
    assert summary.memory_used == (300.0,)
    assert summary.processes == (process,)


def test_errors_are_few_and_short() -> None:
    blind = Window()
    for number in range(50):
        blind.fail(f"{number} " + "x" * 500)
    errors = blind.close(1).errors
    assert len(errors) == 10
    assert max(map(len, errors)) == 200


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Scripted:
    """A reader that takes ``seconds`` and then gives a sample or raises."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.seconds = clock, 0.0
        self.result: GpuSample | Exception = sample(0.0)

    def read(self) -> GpuSample:
        self.clock.now += self.seconds
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_driver_that_hangs_costs_the_interval_its_value(clock: Clock) -> None:
    reader = Scripted(clock)
    sampler = Sampler(reader, period=1.0, clock=clock)
    for reader.seconds in [1.0] * 5 + [20.0] + [1.0] * 5:
        sampler.sample()
    summary = sampler.take()
    assert summary.samples == 11
    assert summary.utilization is None


@pytest.mark.parametrize("error", [GpuUnavailable("no driver"), RuntimeError("surprise")])
def test_a_failing_reader_is_a_reason_and_not_an_exception(clock: Clock, error: Exception) -> None:
    reader = Scripted(clock)
    reader.result = error
    sampler = Sampler(reader, clock=clock)
    sampler.sample()
    summary = sampler.take()
    assert summary.utilization is None
    assert str(error) in summary.errors[0]


def test_take_begins_a_new_interval(clock: Clock) -> None:
    reader = Scripted(clock)
    reader.seconds, reader.result = 1.0, sample(80.0)
    sampler = Sampler(reader, period=1.0, clock=clock)
    sampler.sample()
    assert sampler.take().utilization == 80.0
    reader.result = sample(0.0)
    sampler.sample()
    assert sampler.take().utilization == 0.0


def test_take_does_not_wait_for_a_read_in_flight() -> None:
    entered, leave = threading.Event(), threading.Event()

    class Stuck:
        def read(self) -> GpuSample:
            entered.set()
            leave.wait(10)
            raise GpuUnavailable("at last")

    sampler = Sampler(Stuck(), period=0.01)
    sampler.start()
    assert entered.wait(5)
    assert sampler.take().utilization is None
    leave.set()
    sampler.stop()


def test_the_thread_samples_until_it_is_stopped() -> None:
    class Idle:
        def read(self) -> GpuSample:
            return sample(0.0)

    sampler = Sampler(Idle(), period=0.01)
    sampler.start()
    sampler.warm_up(sample_for=0.1)
    summary = sampler.take()
    sampler.stop()
    assert summary.samples > 1
    assert summary.utilization == 0.0
