"""The rate limit on a real Valkey: its spacing, its line, its penalties, several processes, and no Redis at all."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator

import pytest
from redis import Redis

from dumont.embedded.valkey import Valkey
from hibernation.domain.errors import ProviderUnavailable, RateLimited
from hibernation.providers.accounts import redis_from_url
from hibernation.providers.limiter import MARGIN, PATIENCE_SECONDS, Limit, Limiter
from hibernation.providers.vast.limits import LIMITS, Call

pytestmark = pytest.mark.network

RULES = {
    "list": Limit(1.0),
    "create": Limit(4.5, penalty=12.0),
    "search": Limit(60.0, calls=10),
    "destroy": Limit(3.0),
}
SLOW = 4.5 * MARGIN


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    valkey = Valkey(tmp_path_factory.mktemp("v"))
    valkey.start()
    yield valkey.url
    valkey.stop()


@pytest.fixture
def redis(url: str) -> Iterator[Redis]:
    with redis_from_url(url) as client:
        client.flushall()
        yield client


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def limiter(redis: Redis, slept: list[float]) -> Limiter:
    return Limiter(redis, "t", RULES, sleep=slept.append)


def wait_of(limiter: Limiter, call: str, who: str) -> float:
    """Seconds until ``who`` may come again; 0 if the permit was given."""
    try:
        limiter.acquire(call, who)
    except RateLimited as error:
        return error.retry_after
    return 0.0


def test_permits_are_spaced_and_a_short_wait_is_waited(limiter: Limiter, slept: list[float]) -> None:
    assert [wait_of(limiter, "list", who) for who in "ab"] == [0, 0]
    assert slept == [pytest.approx(1.1, abs=0.1)]


def test_a_long_wait_is_told_and_each_in_line_gets_another_moment(
    limiter: Limiter, slept: list[float]
) -> None:
    waits = [wait_of(limiter, "create", who) for who in "abcd"]
    assert waits == [0, *(pytest.approx(SLOW * n, abs=0.1) for n in (1, 2, 3))]
    assert slept == []
    assert wait_of(limiter, "create", "b") == pytest.approx(SLOW, abs=0.1)


def test_nobody_passes_whoever_was_first(redis: Redis) -> None:
    limiter = Limiter(redis, "t", {"x": Limit(0.2)}, sleep=lambda _: None)
    limiter.penalize("x", 2.05)
    first = wait_of(limiter, "x", "first")
    assert wait_of(limiter, "x", "second") > first
    time.sleep(0.3)
    assert wait_of(limiter, "x", "newcomer") > 0
    assert wait_of(limiter, "x", "second") > 0
    assert wait_of(limiter, "x", "first") == 0


def test_whoever_does_not_wait_is_let_in_only_where_nobody_waits_and_keeps_no_place(limiter: Limiter) -> None:
    assert wait_of(limiter, "create", "") == 0
    assert wait_of(limiter, "create", "") == pytest.approx(SLOW, abs=0.1)
    assert wait_of(limiter, "create", "a") == pytest.approx(SLOW, abs=0.1)
    assert wait_of(limiter, "create", "") == pytest.approx(SLOW * 2, abs=0.1)
    assert wait_of(limiter, "create", "b") == pytest.approx(SLOW * 2, abs=0.1)


def test_whoever_does_not_come_holds_nobody_up_and_keeps_the_place(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hibernation.providers.limiter._LATE_SECONDS", 0.0)
    monkeypatch.setattr("hibernation.providers.limiter.PATIENCE_SECONDS", 0.0)
    limiter = Limiter(redis, "t", {"x": Limit(0.1)}, sleep=lambda _: None)
    waits = [wait_of(limiter, "x", who) for who in ("a", "late", "b")]
    time.sleep(waits[1] + 0.02)
    assert wait_of(limiter, "x", "b") == 0
    time.sleep(0.12)
    assert wait_of(limiter, "x", "late") == 0


def test_urgent_calls_go_ahead_of_the_line(limiter: Limiter, slept: list[float]) -> None:
    for who in "abcdef":
        wait_of(limiter, "list", who)
    limiter.acquire("list", "page 2", urgent=True)
    assert slept[-1] == pytest.approx(2.2, abs=0.1)


def test_a_number_a_minute_may_come_at_once(limiter: Limiter) -> None:
    waits = [wait_of(limiter, "search", str(n)) for n in range(12)]
    assert waits == [0] * 10 + [pytest.approx(66, abs=1)] * 2


def test_a_refusal_shuts_for_everybody_and_is_remembered(limiter: Limiter) -> None:
    assert limiter.penalize("create", threshold=4.5) == 12
    assert wait_of(limiter, "create", "a") == pytest.approx(12, abs=0.1)
    assert limiter.penalize("destroy", threshold=6.0) == pytest.approx(6 * MARGIN)
    assert wait_of(limiter, "destroy", "a") == pytest.approx(6 * MARGIN, abs=0.1)
    assert wait_of(limiter, "destroy", "b") == pytest.approx(12 * MARGIN, abs=0.1)
    assert wait_of(limiter, "list", "a") == 0


def test_refusals_that_tell_nothing_double_the_pause(limiter: Limiter) -> None:
    assert [limiter.penalize("list") for _ in range(7)] == [2, 4, 8, 16, 32, 60, 60]


def test_a_day_may_be_told(limiter: Limiter) -> None:
    assert limiter.penalize("search", 40_000.0) == 40_000
    assert wait_of(limiter, "search", "a") == pytest.approx(40_000, abs=1)


def test_time_can_be_compressed(redis: Redis) -> None:
    limiter = Limiter(redis, "t", RULES, scale=0.01)
    began = time.monotonic()
    for n in range(11):
        limiter.acquire("create", str(n))
    assert 10 * SLOW * 0.01 <= time.monotonic() - began < 3


def test_no_redis_means_no_calls() -> None:
    limiter = Limiter(redis_from_url("redis://127.0.0.1:9/0"), "t", RULES)
    with pytest.raises(ProviderUnavailable, match="no call was made"):
        limiter.acquire("list", "a")
    with pytest.raises(ProviderUnavailable):
        limiter.penalize("list", 1.0)


def _worker(url: str, number: int, granted: multiprocessing.SimpleQueue[tuple[float, int]]) -> None:
    with redis_from_url(url) as redis:
        limiter = Limiter(redis, "many", {"x": Limit(0.02)})
        for n in range(10):
            while wait_of(limiter, "x", f"{number}-{n}"):
                time.sleep(0.01)
            granted.put((time.monotonic(), number))


def test_processes_share_one_limit_and_nobody_starves(url: str, redis: Redis) -> None:
    fork = multiprocessing.get_context("spawn")
    granted: multiprocessing.SimpleQueue[tuple[float, int]] = fork.SimpleQueue()
    workers = [fork.Process(target=_worker, args=(url, number, granted)) for number in range(4)]
    for worker in workers:
        worker.start()
    found = sorted(granted.get() for _ in range(40))
    for worker in workers:
        worker.join(20)
        worker.close()
    granted.close()
    # Sleeps overshoot by a little, so the whole is exact and a single gap is not.
    assert found[-1][0] - found[0][0] >= 39 * 0.02
    assert {number for _, number in found} == {0, 1, 2, 3}


def test_every_call_has_a_limit() -> None:
    assert set(LIMITS) == set(Call)
    assert PATIENCE_SECONDS <= 2


@pytest.mark.parametrize(
    ("url", "path", "number"),
    [
        ("redis+socket:///run/v.sock", "/run/v.sock", 0),
        ("redis+socket:///run/v.sock?virtual_host=3", "/run/v.sock", 3),
    ],
)
def test_a_brokers_socket_is_understood(url: str, path: str, number: int) -> None:
    with redis_from_url(url) as client:
        found = client.connection_pool.connection_kwargs
        assert (found["path"], found["db"]) == (path, number)
