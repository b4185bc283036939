"""From the end of the countdown on: ask to be stopped, again and again until this box is stopped."""

from __future__ import annotations

import logging
import math
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from agents.contact import keep_fact
from agents.guard.countdown import Countdown, Pace
from agents.guard.stop import Answer, Powerless, Told
from agents.protocol import MAX_FACT_CHARS, GuardFact, GuardOutcome, GuardTerms

log = logging.getLogger("dumont.agent")


class Stopper(Protocol):
    """The way to one provider. Both may raise ``Powerless``, for what was there before may be gone."""

    def reach(self) -> str: ...

    def stop(self) -> Answer: ...


class Asking:
    """One silence. ``due`` is called at every look that finds the countdown over, ``rest`` at every other.

    What is done goes into the fact that the control plane is told when it is back, before it is done.
    """

    def __init__(
        self,
        state_dir: Path,
        stopper: Callable[[GuardTerms], Stopper],
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._state_dir = state_dir
        self._stopper = stopper
        self._clock = clock
        self._now = now
        self._fact_id = ""
        self._told: tuple[GuardOutcome, str] | None = None
        self.rest()

    def rest(self) -> None:
        self._next_at = -math.inf
        self._reached_at: float | None = None
        self._failures = 0

    def forget(self) -> None:
        """The silence is over: what comes later is another story."""
        self.rest()
        self._fact_id, self._told = "", None

    def is_able(self, state: Countdown) -> bool:
        """Whether this box has the means to be stopped at all."""
        try:
            return state.terms is not None and bool(self._stopper(state.terms))
        except Powerless:
            return False

    def due(self, state: Countdown, pace: Pace) -> None:
        now = self._clock()
        if now < self._next_at or state.terms is None:
            return
        try:
            stopper = self._stopper(state.terms)
            if not self._is_settled(stopper, pace, now):
                return
            self._ask(stopper, state, pace, now)
        except Powerless as error:
            self._next_at = now + pace.retry_most
            log.warning("not stopped: %s", error)
            self.tell(state, GuardOutcome.UNABLE, str(error))

    def tell(self, state: Countdown, outcome: GuardOutcome, what: str) -> None:
        """Write down, once, what the control plane is to be told; the latest is kept."""
        if self._told == (outcome, what):
            return
        self._told = outcome, what
        self._fact_id = self._fact_id or secrets.token_hex(8)
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._now()))
        reason = f"{in_words(state.silent)} without contact: {what}"[:MAX_FACT_CHARS]
        keep_fact(self._state_dir, GuardFact(self._fact_id, outcome, at, int(state.silent), reason))

    def _is_settled(self, stopper: Stopper, pace: Pace, now: float) -> bool:
        """A box that itself was cut off reaches both again at once: its control plane gets the time to speak first."""
        problem = stopper.reach()
        if problem:
            self._reached_at = None
            self._fail(problem, pace, now)
            return False
        if self._reached_at is None:
            self._reached_at = now
            self._next_at = now + pace.settle
        return now - self._reached_at >= pace.settle

    def _ask(self, stopper: Stopper, state: Countdown, pace: Pace, now: float) -> None:
        self.tell(state, GuardOutcome.STOPPED, "idle all along, this machine told its provider to stop it")
        answer = stopper.stop()
        if answer.told is Told.REFUSED:
            self.tell(state, GuardOutcome.UNABLE, answer.problem)
        self._wait(answer, pace, now)

    def _wait(self, answer: Answer, pace: Pace, now: float) -> None:
        """Also after a yes: whoever still runs then was not stopped."""
        if answer.told is Told.ACCEPTED:
            log.warning("the provider stops this machine")
            self._next_at = now + pace.retry_most
        else:
            self._fail(answer.problem, pace, now)

    def _fail(self, problem: str, pace: Pace, now: float) -> None:
        pause = min(pace.retry_most, pace.retry_first * 2.0 ** min(self._failures, 10))
        pause *= 0.5 + secrets.randbelow(1000) / 2000
        self._failures += 1
        self._next_at = now + pause
        log.warning("not stopped yet: %s; again in %s", problem, in_words(pause))


def in_words(seconds: float) -> str:
    """«6 h 10 min», «40 s»: two figures are enough for people."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = int(seconds // 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
