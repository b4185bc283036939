"""Which faults the world has, and how likely each is at every occasion."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from random import Random


@dataclass(slots=True)
class Faults:
    """Probabilities per occasion. ``quiet`` ends them all; what has begun runs its course."""

    rng: Random
    crash: float = 0.012
    stall: float = 0.01
    message_lost: float = 0.05
    message_doubled: float = 0.08
    beat_lost: float = 0.04
    beat_doubled: float = 0.08
    beat_foreign: float = 0.03
    beat_spooled: float = 0.05
    launch_lost: float = 0.06
    launch_answer_lost: float = 0.08
    launch_late: float = 0.06
    launch_refused: float = 0.05
    offer_gone: float = 0.08
    never_boots: float = 0.08
    launch_deferred: float = 0.06
    launch_leftover: float = 0.02
    no_credit: float = 0.003
    host_failed: float = 0.02
    image_failed: float = 0.004
    start_lost: float = 0.03
    start_refused: float = 0.10
    start_answer_lost: float = 0.10
    stopped_early: float = 0.015
    stop_refused: float = 0.04
    stop_lost: float = 0.10
    stop_answer_lost: float = 0.10
    stop_ignored: float = 0.05
    start_ignored: float = 0.08
    attach_refused: float = 0.04
    label_refused: float = 0.30
    label_answer_lost: float = 0.10
    silence: float = 0.03
    key_refused: float = 0.03
    gpu_missing: float = 0.015
    slow_network: float = 0.03
    list_error: float = 0.06
    list_refused: float = 0.03
    hidden: float = 0.006
    destroy_lost: float = 0.10
    destroy_answer_lost: float = 0.10
    destroy_refused: float = 0.06
    destroy_ignored: float = 0.10
    destroy_late: float = 0.08
    search_error: float = 0.05
    ssh_lost: float = 0.05
    ssh_answer_lost: float = 0.05
    host_key_changed: float = 0.003
    job_died: float = 0.06
    long_job: float = 0.08
    pack_bad: float = 0.03
    store_error: float = 0.06
    unreadable_files: float = 0.05
    disk_full: float = 0.04
    active: bool = field(default=True)

    def hit(self, name: str) -> bool:
        probability: float = getattr(self, name)
        return probability > 0 and self.rng.random() < probability

    def quiet(self) -> None:
        self.active = False
        for entry in fields(self):
            if entry.name not in ("rng", "active"):
                setattr(self, entry.name, 0.0)
