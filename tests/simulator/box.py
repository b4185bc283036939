"""One modelled rented machine: its workspace as a version counter, its writers, its GPU, its jobs and its agent."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from hibernation.domain.states import Phase


class Gpu(StrEnum):
    IDLE = "idle"
    BUSY = "busy"
    UNREADABLE = "unreadable"


UTILIZATIONS: dict[Gpu, tuple[float | None, ...]] = {
    Gpu.IDLE: (0.0, 5.0),
    Gpu.BUSY: (0.0, 97.0),
    Gpu.UNREADABLE: (0.0, None),
}


@dataclass(slots=True)
class Job:
    """A freeze or thaw. ``version``: the workspace it captured when it began, or the one it restores.

    ``yields``: it ends as soon as the GPU works.
    """

    done_at: datetime
    version: int
    yields: bool = False
    state: str = "running"
    error_code: str = ""
    unreadable: int = 0


@dataclass(slots=True)
class SimAgent:
    """Speaks with the token of machine row ``machine_id``."""

    machine_id: int
    interval: float
    next_beat_at: datetime
    seq: int = 0
    silent_until: datetime | None = None


@dataclass(slots=True)
class Box:
    """``version`` grows with every write; ``base`` is the version that a proven copy already has.

    ``fenced_at``: when writers were last paused and looked at. ``trouble``: why it will never come up.
    ``stopped``: its host took the GPU back; its disk bills on.
    ``by_hand``: somebody else started it.
    """

    contract: str
    label: str
    host: str
    born_at: datetime
    boots_at: datetime | None
    listed_from: datetime
    hidden_until: datetime
    unreachable_until: datetime
    trouble: str = ""
    our_fault: bool = False
    needs_start: bool = False
    stopped: bool = False
    by_hand: bool = False
    ended_at: datetime | None = None
    destroyed: bool = False
    version: int = 0
    base: int = 0
    gpu: Gpu = Gpu.IDLE
    paused: bool = False
    fenced_at: datetime | None = None
    agent: SimAgent | None = None
    freezes: dict[str, Job] = field(default_factory=dict)
    thaws: dict[int, Job] = field(default_factory=dict)

    @property
    def alive(self) -> bool:
        return self.ended_at is None

    def phase(self, now: datetime) -> Phase:
        """By its provider's word."""
        if self.trouble:
            return Phase.FAILED
        if self.stopped:
            return Phase.STOPPED
        up = self.boots_at is not None and self.boots_at <= now
        return Phase.RUNNING if up and not self.needs_start else Phase.LOADING

    def answers(self, now: datetime) -> bool:
        if self.needs_start or self.stopped or self.trouble:
            return False
        return self.alive and self.boots_at is not None and self.boots_at <= now >= self.unreachable_until

    def listed(self, now: datetime) -> bool:
        return self.alive and self.listed_from <= now >= self.hidden_until

    def fence(self, captured: int, now: datetime) -> int:
        """Pause the writers, then count what was written since the freeze that captured version ``captured``."""
        self.paused, self.fenced_at = True, now
        return self.version - captured

    def running_jobs(self, now: datetime) -> int:
        jobs = [*self.freezes.values(), *self.thaws.values()]
        return sum(job.state == "running" and job.done_at > now for job in jobs)

    def power_off(self) -> None:
        """What ran has ended, the agent and paused writers too; its disk stays."""
        self.stopped, self.by_hand, self.agent = True, False, None
        self.let_go()
        for job in [*self.freezes.values(), *self.thaws.values()]:
            if job.state == "running":
                job.state = "died"

    def let_go(self) -> None:
        self.paused, self.fenced_at = False, None

    def stop(self, name: str, now: datetime) -> Job | None:
        """End this freeze; one that was done is done."""
        job = self.freezes.get(name)
        if job is not None and job.state == "running":
            job.state, job.error_code = ("done", "") if job.done_at <= now else ("failed", "stopped")
        return job
