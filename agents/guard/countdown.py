"""How long a box has heard nothing and done nothing. Pure: every doubt begins the idle window anew.

Only time that a guard has lived through counts, by a clock that neither jumps nor runs on while the box sleeps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from agents.protocol import GuardTerms

BLIND_WINDOWS = 4
"""After so many windows without contact, a box that cannot see whether it is idle says so."""


@dataclass(frozen=True, slots=True)
class Look:
    """What the box shows of itself: ``busy`` is why it is not idle, empty if it is; ``unknown`` if nobody can tell."""

    busy: str = ""
    unknown: bool = False


@dataclass(frozen=True, slots=True)
class Countdown:
    """All in seconds. ``silent``: since the last contact. ``idle``: of these the last, unbroken. ``held``: still to
    come of what a person ordered. ``terms``: as last heard; without any the box never stops itself.
    """

    terms: GuardTerms | None = None
    silent: float = 0.0
    idle: float = 0.0
    held: float = 0.0

    @property
    def window(self) -> float:
        """Seconds that must pass in silence; 0: it never ends."""
        return self.terms.after_seconds if self.terms else 0.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How often and how long, in seconds; shorter for a short window. ``gap``: longer without a look is not seen.

    ``quiet``: a silence this short is the pause between two heartbeats. ``warning``: before the end. ``settle``: the
    provider must have answered for so long. ``session``: a connection this old has logged in. ``retry_first``,
    ``retry_most``: between two tries to stop.
    """

    tick: float
    gap: float
    quiet: float
    warning: float
    jitter: float
    settle: float
    session: float
    retry_first: float
    retry_most: float


def pace(window: float) -> Pace:
    tick, tenth = min(15.0, window / 20), window / 10
    return Pace(
        tick=tick,
        gap=8 * tick,
        quiet=min(60.0, tenth),
        warning=min(600.0, tenth),
        jitter=min(600.0, tenth),
        settle=min(120.0, tenth),
        session=min(150.0, tenth),
        retry_first=min(30.0, tenth),
        retry_most=min(900.0, window),
    )


def contact(state: Countdown, terms: GuardTerms | None) -> Countdown:
    """The control plane answered, and told its terms if it has any."""
    return replace(state, terms=terms or state.terms, silent=0.0, idle=0.0)


def hold(state: Countdown, seconds: float) -> Countdown:
    """A person orders the box to stay as it is for so long; 0 takes that back. The idle window begins anew."""
    return replace(state, held=seconds, idle=0.0)


def advance(state: Countdown, elapsed: float, look: Look) -> Countdown:
    """``elapsed`` seconds passed. A negative time, or one too long to have been watched, is no time and a doubt."""
    seen = 0.0 <= elapsed <= pace(state.window).gap
    elapsed = elapsed if seen else 0.0
    is_idle = seen and not look.busy and state.held <= 0
    return replace(
        state,
        silent=state.silent + elapsed,
        idle=state.idle + elapsed if is_idle else 0.0,
        held=max(0.0, state.held - elapsed),
    )


def seconds_left(state: Countdown, chance: float) -> float | None:
    """Until the box stops itself if nothing changes, not below 0; None while nothing counts down.

    ``chance`` (0–1) is this box's own: a fleet that lost its control plane does not stop in step.
    """
    if state.window <= 0 or state.idle <= 0:
        return None
    return max(0.0, state.window + chance * pace(state.window).jitter - state.idle)


def is_blind(state: Countdown, look: Look) -> bool:
    return look.unknown and 0 < BLIND_WINDOWS * state.window <= state.silent
