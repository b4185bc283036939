"""What a list says of a machine that is kept warm, and what follows: ended in time, put back to work, or told. Pure.

A machine that stands still is ended only right after a list that shows it so: whoever started it may have work on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from hibernation.domain.standing import ALARM_EVERY, LISTS_BELIEVED, LOADING_PATIENCE
from hibernation.domain.states import Phase

FRESH = timedelta(seconds=60)
"""Nobody who looked longer ago ends a machine."""
_BETWEEN = (Phase.LOADING, Phase.STOPPING)


@dataclass(frozen=True, slots=True)
class Parked:
    """``lists`` in a row since it was parked, the first of them at ``since``, said ``phase``; the last at ``seen_at``.

    ``until``: so long it is kept. ``pressed``: why not even so long; empty where nothing is. ``is_saved``: the copy
    that it was parked on is good. ``occupied``: an operation runs on its instance.
    """

    machine_id: int
    contract_id: str
    phase: Phase
    since: datetime
    lists: int
    seen_at: datetime
    until: datetime
    pressed: str = ""
    is_saved: bool = True
    alarmed_at: datetime | None = None
    occupied: bool = False


@dataclass(frozen=True, slots=True)
class EndParked:
    machine_id: int
    contract_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class TakeBack:
    """It runs, and not by us: its instance runs on it again."""

    machine_id: int


@dataclass(frozen=True, slots=True)
class TellNeeded:
    """Its disk is the only right copy of the workspace: it stays, whatever its time. Told once a day."""

    machine_id: int


Deed = EndParked | TakeBack | TellNeeded


def plan_parked(seen: Parked, now: datetime) -> Deed | None:
    if seen.occupied or now - seen.seen_at > FRESH:
        return None
    if seen.phase is Phase.RUNNING:
        return TakeBack(seen.machine_id) if seen.lists >= LISTS_BELIEVED else None
    if not seen.is_saved:
        due = seen.alarmed_at is None or now - seen.alarmed_at >= ALARM_EVERY
        return TellNeeded(seen.machine_id) if due else None
    reason = _why_ended(seen, now)
    return EndParked(seen.machine_id, seen.contract_id, reason) if reason else None


def _why_ended(seen: Parked, now: datetime) -> str:
    """Empty: it is kept. What is on its way up or down is waited for, until it takes too long."""
    slow = seen.phase in _BETWEEN and now - seen.since >= LOADING_PATIENCE
    if slow or (seen.phase is Phase.FAILED and seen.lists >= LISTS_BELIEVED):
        return f"it does not stay stopped: it is {seen.phase}"
    # Who cannot be reached may be at work.
    if seen.phase in _BETWEEN or seen.phase is Phase.OFFLINE:
        return ""
    return seen.pressed or ("its time is over" if now >= seen.until else "")
