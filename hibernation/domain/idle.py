"""Whether a machine is idle. Pure: unknown counts as active, and every doubt restarts the window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

MISSED_BEATS_ALLOWED = 2.5
"""A gap of more than this many intervals between two heartbeats restarts the window: nobody saw what ran in it."""
SHORTEST_GAP_TOLERATED = timedelta(seconds=10)
"""Very short intervals are jittery; a pause below this never counts as a gap."""


class Activity(StrEnum):
    BUSY = "busy"
    IDLE = "idle"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Policy:
    """An instance's rules. ``gpu_usage_threshold`` is per cent: a GPU above it is busy, at or below it is idle."""

    enabled: bool = True
    gpu_usage_threshold: float = 5.0
    pause_after: timedelta = timedelta(minutes=3)
    delete_after: timedelta = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class IdleState:
    """What the decision rests on. Server times only; ``interval`` is what the agent was told to keep."""

    idle_since: datetime | None = None
    last_beat_at: datetime | None = None
    interval: timedelta = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Judgement:
    activity: Activity
    why: str


def judge(utilizations: Sequence[float | None], policy: Policy) -> Judgement:
    """One heartbeat's activity from its per-GPU maxima in per cent.

    One busy GPU makes the machine busy whatever the others are; else one unknown GPU, or no GPU at all, makes it
    unknown; only when every GPU is known and at or below the threshold is it idle.
    """
    known = [u for u in utilizations if u is not None]
    busiest = max(known, default=None)
    limit = policy.gpu_usage_threshold
    if busiest is not None and busiest > limit:
        return Judgement(Activity.BUSY, f"GPU utilization {busiest:.1f} % > {limit:.1f} %")
    if busiest is None or len(known) < len(utilizations):
        missing = len(utilizations) - len(known)
        return Judgement(Activity.UNKNOWN, f"{missing} of {len(utilizations)} GPUs could not be read")
    told = f"GPU utilization {busiest:.1f} % {'<' if busiest < limit else '≤'} {limit:.1f} %"
    return Judgement(Activity.IDLE, told)


def for_so_long(policy: Policy) -> str:
    """Why an idle machine is hibernated, in words."""
    seconds = policy.pause_after.total_seconds()
    if seconds < 60:
        return f"GPU idle for {seconds:g} {'second' if seconds == 1 else 'seconds'}"
    return f"GPU idle for {seconds / 60:g} {'minute' if seconds == 60 else 'minutes'}"


def longest_gap(state: IdleState) -> timedelta:
    return max(SHORTEST_GAP_TOLERATED, state.interval * MISSED_BEATS_ALLOWED)


def is_fresh(state: IdleState, now: datetime) -> bool:
    """Whether the last heartbeat is recent enough to say anything about now."""
    return state.last_beat_at is not None and now - state.last_beat_at <= longest_gap(state)


def advance(state: IdleState, activity: Activity, now: datetime) -> IdleState:
    """The state after a heartbeat of that activity arrived at ``now`` (server clock)."""
    if activity is not Activity.IDLE:
        return replace(state, idle_since=None, last_beat_at=now)
    unbroken = state.idle_since is not None and is_fresh(state, now)
    return replace(state, idle_since=state.idle_since if unbroken else now, last_beat_at=now)


def due_at(state: IdleState, policy: Policy) -> datetime | None:
    """When hibernation falls due if nothing changes; ``None`` while not idle or switched off."""
    if state.idle_since is None or not policy.enabled:
        return None
    return state.idle_since + policy.pause_after


def is_due(state: IdleState, policy: Policy, now: datetime) -> bool:
    """Whether the whole window up to ``now`` was seen idle. An agent that fell silent is never due."""
    due = due_at(state, policy)
    return due is not None and now >= due and is_fresh(state, now)
