"""The heartbeat loop: when to read, when to send, when to try again. It never gives up and never waits on a driver."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable
from typing import Any, Protocol

from agents.client import Outcome, Result
from agents.protocol import Reply
from agents.spool import Spool

log = logging.getLogger("dumont.agent")

BACKOFF_FIRST_SECONDS = 1.0
BACKOFF_MAX_SECONDS = 60.0
UNAUTHORISED_SECONDS = 60.0
REPLAY_AT_ONCE = 30
REPEAT_LOG_SECONDS = 600.0


class Client(Protocol):
    """The part of ``ControlClient`` the loop needs."""

    def post_status(self, reading: dict[str, Any]) -> Outcome: ...


class Backoff:
    """1, 2, 4 … 60 seconds, each cut by up to a half at random so that a fleet does not return in step."""

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        self._chance = chance
        self._failures = 0

    def reset(self) -> None:
        self._failures = 0

    def next(self) -> float:
        longest = min(BACKOFF_MAX_SECONDS, BACKOFF_FIRST_SECONDS * 2.0 ** min(self._failures, 10))
        self._failures += 1
        return longest * (0.5 + self._chance() / 2)


class Monitor:
    """Takes a reading every ``interval`` seconds and delivers it, the newest first, then what was spooled.

    ``read(interval)`` gives the next reading as JSON; ``clock`` is monotonic, so a clock jump changes nothing.
    ``heard`` is told each answer to a live reading.
    """

    def __init__(
        self,
        read: Callable[[float], dict[str, Any]],
        client: Client,
        spool: Spool,
        interval: float,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], None] = time.sleep,
        backoff: Backoff | None = None,
        heard: Callable[[Reply], None] = lambda reply: None,
    ) -> None:
        self._read = read
        self._client = client
        self._spool = spool
        self._interval = interval
        self._clock = clock
        self._wait = wait
        self._backoff = backoff or Backoff()
        self._heard = heard
        self._pending: dict[str, Any] | None = None
        self._last_beat = -math.inf
        self._next_try = clock()
        self._stopped = False
        self._action = "none"
        self._problem: tuple[str, float] = ("", 0.0)

    def run(self) -> None:
        """Beat until the server says stop. However it ends, an unsent reading goes to the spool."""
        try:
            while not self._stopped:
                self.step()
                if not self._stopped:
                    self._wait(max(0.0, self._next_wake_up() - self._clock()))
        finally:
            self._spool_pending()

    def step(self) -> None:
        """Do what is due now: take a reading, try to deliver."""
        if self._clock() >= self._next_beat():
            self._spool_pending()
            self._last_beat = self._clock()
            self._pending = self._read(self._interval)
        if self._pending is not None and self._clock() >= self._next_try:
            self._deliver(self._pending)

    def _next_beat(self) -> float:
        return self._last_beat + self._interval

    def _next_wake_up(self) -> float:
        return min(self._next_beat(), self._next_try) if self._pending is not None else self._next_beat()

    def _spool_pending(self) -> None:
        if self._pending is not None:
            self._spool.add(self._pending)
            self._pending = None

    def _deliver(self, reading: dict[str, Any]) -> None:
        outcome = self._client.post_status(reading)
        if outcome.reply is not None:
            self._pending = None
            self._accepted(outcome.reply)
        elif outcome.result is Result.REFUSED:
            self._pending = None
            self._report(outcome.problem)
        else:
            self._next_try = self._clock() + self._delay(outcome)
            self._report(outcome.problem)

    def _accepted(self, reply: Reply) -> None:
        self._backoff.reset()
        self._next_try = self._clock()
        if self._problem[0]:
            log.info("the server takes heartbeats again; %d readings to catch up", len(self._spool))
            self._problem = ("", 0.0)
        self._adopt(reply)
        if not self._stopped:
            self._replay()

    def _adopt(self, reply: Reply) -> None:
        if reply.interval is not None and reply.interval != self._interval:
            log.info("heartbeat every %g s from now on", reply.interval)
            self._interval = reply.interval
        if reply.action != self._action:
            log.info("the server says %s (instance is %s)", reply.action, reply.status or "?")
            self._action = reply.action
        self._stopped = reply.action == "stop"
        self._heard(reply)

    def _replay(self) -> None:
        """Send what was spooled, a bounded number so that the next heartbeat is on time."""
        if not self._spool:
            return
        for _ in range(min(REPLAY_AT_ONCE, len(self._spool))):
            outcome = self._client.post_status(self._spool.oldest())
            if outcome.result not in (Result.ACCEPTED, Result.REFUSED):
                # The next heartbeat tries again: history is in no hurry.
                self._next_try = self._clock() + (outcome.retry_after or 0.0)
                break
            self._spool.drop_oldest()
            if self._clock() >= self._next_beat():
                break
        self._spool.save()

    def _delay(self, outcome: Outcome) -> float:
        if outcome.result is Result.UNAUTHORISED:
            return UNAUTHORISED_SECONDS
        return max(self._backoff.next(), outcome.retry_after or 0.0)

    def _report(self, problem: str) -> None:
        """Log a new problem at once and a lasting one every ten minutes: the log is on the user's disk."""
        known, since = self._problem
        if problem != known or self._clock() - since >= REPEAT_LOG_SECONDS:
            log.warning("%s", problem)
            self._problem = (problem, self._clock())
