"""How a step keeps going: when it looks again, how long it may be silent, what it says meanwhile. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hibernation.domain.backoff import poll_seconds, retry_seconds
from hibernation.domain.errors import DumontError, RateLimited
from hibernation.domain.facts import Facts, MachineFacts, Memo
from hibernation.domain.outcomes import Wait

COMING = frozenset({"loading", "reach", "race"})
"""Steps of a wake in which the machine does not answer yet."""


def machine_of(facts: Facts) -> MachineFacts:
    if facts.machine is None:
        raise AssertionError("an operation without a machine")
    return facts.machine


def entered(facts: Facts) -> datetime:
    """Since when the step is taken; a machine that was set aside meanwhile has been in its stage for longer."""
    operation = facts.operation
    own = operation.memo.stage_at if operation.step in COMING else 0.0
    return datetime.fromtimestamp(own, UTC) if own else operation.entered_at


def overdue(facts: Facts, allowed: timedelta) -> bool:
    return facts.now - entered(facts) > allowed


def silent(facts: Facts, allowed: timedelta) -> bool:
    """Whether a step that may take hours has not been seen going on for longer than ``allowed``."""
    since = max(entered(facts).timestamp(), facts.operation.memo.answered_at)
    return facts.now.timestamp() - since > allowed.total_seconds()


def goes_on(facts: Facts, wait: Wait) -> Wait:
    """``wait``, and note that the step was seen going on."""
    return replace(wait, memo=replace(facts.operation.memo, answered_at=facts.now.timestamp()))


def again(facts: Facts, error: DumontError) -> Wait:
    """Try once more, after longer and longer. Who only has to queue comes when it is his turn: nothing has failed."""
    if isinstance(error, RateLimited):
        return Wait(pause(error, poll_seconds(facts.operation.waits)), error.message)
    return Wait(pause(error, retry_seconds(facts.operation.failures)), error.message, failed=True)


def pause(error: DumontError, seconds: float) -> float:
    """``seconds``, or more where a provider said when to come again."""
    return max(seconds, getattr(error, "retry_after", 0.0))


def look_again(facts: Facts, why: str) -> Wait:
    return Wait(poll_seconds(facts.operation.waits), why)


def restarted(memo: Memo) -> Memo | None:
    """The memo once its wish to restart a job is granted; ``None`` where it had none."""
    return replace(memo, restart=False) if memo.restart else None
