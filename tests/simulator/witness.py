"""What an observer outside the system saw. Kept apart from the rows, so that it can contradict them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from hibernation.domain.reconcile import Listing
from tests.simulator.box import Box
from tests.simulator.clock import START


@dataclass(slots=True)
class Quiet:
    """An instance as its accepted heartbeats show it, computed without the core."""

    since: datetime | None = None
    last_beat_at: datetime | None = None

    def hear(
        self, utilizations: tuple[float | None, ...], limit: float, gap: timedelta, now: datetime
    ) -> None:
        broken = self.last_beat_at is None or now - self.last_beat_at > gap
        if any(u is None or u > limit for u in utilizations):
            self.since = None
        elif self.since is None or broken:
            self.since = now
        self.last_beat_at = now


@dataclass(frozen=True, slots=True)
class Call:
    """A call that costs money or destroys, and whether it was covered by a committed intent and a valid lease."""

    what: str
    committed: bool
    leased: bool


@dataclass(frozen=True, slots=True)
class HeardBeat:
    """A heartbeat that must change nothing, with the instance before and after it."""

    why: str
    before: object
    after: object


@dataclass(slots=True)
class Witness:
    """Lists are cleared after every boundary, the other fields last as long as the simulation.

    ``strangers``: machines that are not ours, not yet, or not any more.
    """

    ended: list[Box] = field(default_factory=list)
    passed: list[int] = field(default_factory=list)
    woke: list[int] = field(default_factory=list)
    started_unforced: list[int] = field(default_factory=list)
    saves_started: list[int] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    void_beats: list[HeardBeat] = field(default_factory=list)
    declared_lost: list[int] = field(default_factory=list)
    taken_back: list[int] = field(default_factory=list)
    quiet: dict[int, Quiet] = field(default_factory=dict)
    must_stop: set[int] = field(default_factory=set)
    hibernated_version: dict[int, int] = field(default_factory=dict)
    heard_seq: dict[int, int] = field(default_factory=dict)
    lacked_at: dict[str, datetime] = field(default_factory=dict)
    destroying_at: dict[int, datetime] = field(default_factory=dict)
    listed_at: datetime = START
    unlisted_since: dict[str, datetime] = field(default_factory=dict)
    orphaned_labels: list[str] = field(default_factory=list)
    forsaken: set[str] = field(default_factory=set)
    strangers: set[str] = field(default_factory=set)
    woke_at: dict[int, datetime] = field(default_factory=dict)
    saved_last: dict[int, datetime] = field(default_factory=dict)
    due_since: dict[int, datetime] = field(default_factory=dict)
    calm_at: datetime | None = None
    crashes: int = 0
    boundaries: int = 0

    def listed(self, listing: Listing, contracts: Iterable[str]) -> None:
        """When a list last lacked each machine."""
        for contract in contracts:
            if contract not in listing.labels:
                self.lacked_at[contract] = listing.taken_at

    def missed(self, listing: Listing, contracts: Iterable[str]) -> None:
        """Since when the reconciler's lists have lacked a machine without a break."""
        self.listed_at = listing.taken_at
        for contract in contracts:
            if contract not in listing.labels:
                self.unlisted_since.setdefault(contract, listing.taken_at)

    def saw(self, listing: Listing) -> None:
        """A reconciliation has noted all of this list; one that dies half-way has noted nothing."""
        for contract in listing.labels:
            self.unlisted_since.pop(contract, None)

    def clear(self) -> None:
        for seen in (
            self.ended,
            self.passed,
            self.woke,
            self.started_unforced,
            self.saves_started,
            self.calls,
            self.void_beats,
            self.declared_lost,
            self.taken_back,
            self.orphaned_labels,
        ):
            if seen:
                seen.clear()
