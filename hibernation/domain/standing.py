"""What lists say of a machine that holds a workspace, and what follows: told, started again, put back to work. Pure.

Lists lag, so a phase counts only after several lists in a row, and only while the agent is silent: a heartbeat
outranks every list. Nothing here ends a machine: one that stands still may have the only copy of somebody's work.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from hibernation.domain.states import Phase

LISTS_BELIEVED = 3
SILENCE = timedelta(seconds=60)
LOADING_PATIENCE = timedelta(minutes=10)
"""A machine that was up and loads for longer than this has stopped, whatever its provider calls it."""
AGENT_PATIENCE = timedelta(minutes=10)
"""A machine that is listed as running and says nothing for so long has lost its agent: nobody sees it idle."""
STARTS_AT_MOST = 3
START_PAUSE = timedelta(minutes=5)
ALARM_EVERY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Sighting:
    """``lists`` in a row, the first of them at ``since``, said ``phase``. ``longest_gap``: between two heartbeats.

    ``down_since``: when it was told that the machine does not work; ``starts``: how often it was started since;
    ``due_at``: not to be touched before. ``occupied``: an operation runs on it.
    """

    machine_id: int
    contract_id: str
    phase: Phase
    since: datetime
    lists: int
    last_beat_at: datetime | None = None
    longest_gap: timedelta = SILENCE
    down_since: datetime | None = None
    starts: int = 0
    due_at: datetime | None = None
    alarmed_at: datetime | None = None
    occupied: bool = False


@dataclass(frozen=True, slots=True)
class TellDown:
    """It stands still, or (``offline``) its provider cannot reach it. Told once."""

    machine_id: int
    offline: bool


@dataclass(frozen=True, slots=True)
class StartAgain:
    machine_id: int
    contract_id: str


@dataclass(frozen=True, slots=True)
class PutToWork:
    """It runs, but its agent does not: find its address and put the agent there again."""

    machine_id: int
    contract_id: str


@dataclass(frozen=True, slots=True)
class TellBack:
    machine_id: int


@dataclass(frozen=True, slots=True)
class Alarm:
    """It still stands still, with work that may be nowhere else, and its disk bills. Told once a day."""

    machine_id: int


Step = TellDown | StartAgain | PutToWork | TellBack | Alarm


def plan_standing(seen: Sighting, now: datetime) -> tuple[Step, ...]:
    """What this list calls for; at most an alarm and one deed."""
    if _is_heard(seen, now):
        back = seen.down_since is not None and _beat_since(seen, seen.down_since)
        return (TellBack(seen.machine_id),) if back else ()
    if seen.lists < LISTS_BELIEVED:
        return ()
    if seen.down_since is None:
        return _not_told(seen, now)
    alarm = (Alarm(seen.machine_id),) if _is_alarm_due(seen, now) else ()
    return alarm if seen.occupied else (*alarm, *_deed(seen, now))


def pause_after_start(starts: int) -> timedelta:
    """How long a machine that was started gets until the next attempt."""
    return START_PAUSE * (1 << min(starts, 4))


def stands_still(seen: Sighting, now: datetime) -> bool:
    if seen.phase is Phase.LOADING:
        return now - seen.since >= LOADING_PATIENCE
    return seen.phase in (Phase.STOPPED, Phase.FAILED)


def _is_heard(seen: Sighting, now: datetime) -> bool:
    return seen.last_beat_at is not None and now - seen.last_beat_at < max(SILENCE, seen.longest_gap)


def _beat_since(seen: Sighting, moment: datetime) -> bool:
    return seen.last_beat_at is not None and seen.last_beat_at > moment


def _not_told(seen: Sighting, now: datetime) -> tuple[Step, ...]:
    if stands_still(seen, now) or seen.phase is Phase.OFFLINE:
        return (TellDown(seen.machine_id, offline=seen.phase is Phase.OFFLINE),)
    silent = seen.last_beat_at is not None and now - seen.last_beat_at >= AGENT_PATIENCE
    lost_agent = seen.phase is Phase.RUNNING and silent and not seen.occupied and _is_due(seen, now)
    return (PutToWork(seen.machine_id, seen.contract_id),) if lost_agent else ()


def _deed(seen: Sighting, now: datetime) -> tuple[Step, ...]:
    if not _is_due(seen, now):
        return ()
    if seen.phase is Phase.RUNNING:
        return (PutToWork(seen.machine_id, seen.contract_id),)
    if stands_still(seen, now) and seen.starts < STARTS_AT_MOST:
        return (StartAgain(seen.machine_id, seen.contract_id),)
    return ()


def _is_due(seen: Sighting, now: datetime) -> bool:
    return seen.due_at is None or seen.due_at <= now


def _is_alarm_due(seen: Sighting, now: datetime) -> bool:
    """At once where starting has been given up, else when it was told a day ago."""
    if seen.down_since is None or not stands_still(seen, now):
        return False
    if seen.alarmed_at is None and seen.starts >= STARTS_AT_MOST:
        return _is_due(seen, now)
    return now - (seen.alarmed_at or seen.down_since) >= ALARM_EVERY
