"""The guard: a small process that outlives the monitor and stops this box when nobody has spoken to it for hours.

It never saves and never destroys anything: a stopped machine keeps its disk.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agents.contact import STATE_FILE, read_json
from agents.guard import countdown
from agents.guard.asking import Asking, in_words
from agents.guard.countdown import Countdown, Look, Pace, pace
from agents.guard.inbox import Inbox
from agents.guard.signs import SAMPLE_SECONDS, Signs
from agents.guard.warning import LastWarning
from agents.identity import KERNEL_BOOT_ID, write_atomically
from agents.protocol import GuardOutcome, guard_terms
from agents.snapshot.writers import start_time

log = logging.getLogger("dumont.agent")

FIRST_TICK_SECONDS = 15.0
MAX_HOLD_SECONDS = 30 * 86400.0


def boot_of(kernel: Path = KERNEL_BOOT_ID) -> str:
    """Another with each boot of the machine and each start of the container, which shares its host's boot id."""
    try:
        boot = kernel.read_text().strip()
    except OSError:
        boot = "unknown"
    return f"{boot}.{start_time(1) or 0}"


class Guard:
    """Counts, warns, asks. ``clock`` is monotonic and the same for all processes of one boot."""

    def __init__(
        self,
        state_dir: Path,
        signs: Signs,
        asking: Asking,
        warning: LastWarning,
        boot: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = state_dir / STATE_FILE
        self._signs = signs
        self._asking = asking
        self._warning = warning
        self._boot = boot
        self._clock = clock
        self._chance = _chance(boot, state_dir)
        self.state, self._seen_at = load(self._path, boot)
        self._written = self.state
        self._blind_at = -math.inf
        self._cannot_write = ""

    @property
    def tick_seconds(self) -> float:
        return pace(self.state.window).tick or FIRST_TICK_SECONDS

    @property
    def is_homeless(self) -> bool:
        return not self._path.parent.is_dir()

    def hear(self, message: dict[str, Any]) -> bool:
        """Take one message in; whether the guard goes on."""
        if message.get("end") is True:
            self._save()
            return False
        if (terms := guard_terms(message.get("contact"))) is not None:
            self._contact(countdown.contact(self.state, terms))
        if (seconds := _hold_seconds(message.get("hold"))) is not None:
            log.warning("held for %g h", seconds / 3600)
            self.state = countdown.hold(self.state, seconds)
            self._call_off()
            self._save()
        return self.state.terms is None or self.state.window > 0

    def tick(self) -> None:
        """Look, count what has passed since the look before, and do what follows."""
        now, at = self._clock(), pace(self.state.window)
        elapsed, self._seen_at = now - self._seen_at, now
        look = self._look(at)
        self.state = countdown.advance(self.state, elapsed, look)
        self._keep(at)
        left = countdown.seconds_left(self.state, self._chance)
        if left is None or left > at.warning:
            self._call_off()
        elif self._asking.is_able(self.state):
            self._warning.give(self.state.silent, left)
        if left == 0.0:
            self._asking.due(self.state, at)
        self._tell_if_blind(look, now)

    def _look(self, at: Pace) -> Look:
        """Who hears the control plane need not look."""
        if self.state.silent < at.quiet or self.state.terms is None:
            self._signs.close()
            return Look("the control plane was just heard")
        self._signs.open(min(SAMPLE_SECONDS, at.tick / 4))
        return self._signs.look(self.state.terms.gpu_usage_threshold, at.session)

    def _contact(self, state: Countdown) -> None:
        was_silent = self.state.silent >= pace(self.state.window).quiet > 0
        if self.state.silent >= max(self.state.window / 4, FIRST_TICK_SECONDS):
            log.info("the control plane is heard again after %s", in_words(self.state.silent))
        self.state = state
        self._asking.forget()
        self._call_off()
        if was_silent or self._written.terms != state.terms:
            self._save()

    def _call_off(self) -> None:
        self._asking.rest()
        self._warning.take_back()

    def _tell_if_blind(self, look: Look, now: float) -> None:
        if countdown.is_blind(self.state, look) and now - self._blind_at >= self.state.window / 4:
            self._blind_at = now
            log.warning("no contact, and whether this machine is idle cannot be seen: %s", look.busy)
            what = f"this machine keeps running, for it cannot see whether it is idle: {look.busy}"
            self._asking.tell(self.state, GuardOutcome.UNABLE, what)

    def _keep(self, at: Pace) -> None:
        """Not at every tick of years in contact: what is lost then is less than a minute of silence."""
        if self.state.silent >= at.quiet > 0 or self.state.held > 0 or self._written.held > 0:
            self._save()

    def _save(self) -> None:
        kept = {**asdict(self.state), "boot": self._boot, "at": max(self._seen_at, 0.0)}
        try:
            write_atomically(self._path, json.dumps(kept))
        except OSError as error:
            if str(error) != self._cannot_write:
                log.warning("the countdown cannot be kept, a restart begins it anew: %s", error)
            self._cannot_write = str(error)
        else:
            self._written, self._cannot_write = self.state, ""


def load(path: Path, boot: str) -> tuple[Countdown, float]:
    """What an earlier guard had counted, and when it last looked; nobody looked on another boot.

    A damaged file is an empty one: it costs time, and no machine stops that should not.
    """
    kept = read_json(path)
    counted = {name: _seconds(kept.get(name)) for name in ("silent", "idle", "held")}
    if None in counted.values():
        return Countdown(guard_terms(kept.get("terms"))), -math.inf
    state = Countdown(
        terms=guard_terms(kept.get("terms")),
        silent=counted["silent"] or 0.0,
        idle=min(counted["idle"] or 0.0, counted["silent"] or 0.0),
        held=min(counted["held"] or 0.0, MAX_HOLD_SECONDS),
    )
    seen_at = _seconds(kept.get("at"))
    return state, seen_at if kept.get("boot") == boot and seen_at is not None else -math.inf


def run(guard: Guard, inbox: Inbox, clock: Callable[[], float] = time.monotonic) -> None:
    """Until told to end, or until nobody keeps an agent here any more."""
    next_at = clock()
    while True:
        message = inbox.receive(max(0.0, next_at - clock()))
        if (message is not None and not guard.hear(message)) or guard.is_homeless:
            return
        if clock() >= next_at:
            guard.tick()
            next_at = clock() + guard.tick_seconds
        else:
            next_at = min(next_at, clock() + guard.tick_seconds)


def _seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) and value >= 0 else None


def _hold_seconds(value: object) -> float | None:
    seconds = _seconds(value)
    return None if seconds is None else min(seconds, MAX_HOLD_SECONDS)


def _chance(boot: str, state_dir: Path) -> float:
    """0–1, the same over restarts: a number drawn anew each time would move the end."""
    seed = hashlib.sha256(f"{boot} {state_dir}".encode()).digest()
    return int.from_bytes(seed[:4], "big") / 2**32
