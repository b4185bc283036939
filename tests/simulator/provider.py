"""The modelled provider: rents boxes, bills them, lags, loses questions and answers, refuses and ignores."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal

from hibernation.domain.errors import (
    LaunchDeferred,
    LaunchLeftover,
    NoCapacity,
    NotFound,
    OfferGone,
    OutOfCredit,
    ProviderRefused,
    ProviderUnavailable,
    RateLimited,
)
from hibernation.domain.offers import Offer
from hibernation.domain.reconcile import Listing
from tests.simulator.box import Box
from tests.simulator.clock import Clock
from tests.simulator.faults import Faults

HOSTS = 12


def offer_on(host: int) -> Offer:
    name = f"host-{host}"
    price = price_on(name)
    return Offer("sim", f"offer-{host}", name, "RTX_4090", 2, "EU", price, 500, download_mbps=800.0)


def price_on(host: str) -> Decimal:
    """USD an hour."""
    number = host.rpartition("-")[2]
    return Decimal("0.30") + Decimal(number if number.isdigit() else 0) / 100


class SimProvider:
    """``ended`` is told of every box that a destroy ended, at the moment it ends."""

    def __init__(self, clock: Clock, faults: Faults, ended: Callable[[Box], None]) -> None:
        self._clock, self._faults, self._ended = clock, faults, ended
        self._rng = faults.rng
        self.boxes: dict[str, Box] = {}
        self._landing: list[tuple[datetime, Callable[[], object]]] = []

    def land(self) -> None:
        """Requests that were given up by their sender and arrive now."""
        due = [entry for entry in self._landing if entry[0] <= self._clock.now]
        if due:
            self._landing = [entry for entry in self._landing if entry[0] > self._clock.now]
            for _, act in due:
                act()

    def search(self) -> tuple[Offer, ...]:
        if self._faults.hit("search_error"):
            raise ProviderUnavailable
        return tuple(offer_on(host) for host in range(HOSTS))

    def launch(self, label: str, offer: Offer) -> str:
        if self._faults.hit("offer_gone"):
            raise OfferGone
        if self._faults.hit("launch_refused"):
            raise ProviderRefused
        if self._faults.hit("launch_deferred"):
            raise LaunchDeferred("in line", self._rng.uniform(1, 12))
        if self._faults.hit("no_credit"):
            raise OutOfCredit
        if self._faults.hit("launch_leftover"):
            raise LaunchLeftover("it stands still", self.rent(label, offer.host).contract)
        if self._faults.hit("launch_lost"):
            raise ProviderUnavailable
        if self._faults.hit("launch_late"):
            self._later(lambda: self.rent(label, offer.host))
            raise ProviderUnavailable
        box = self.rent(label, offer.host)
        if self._faults.hit("launch_answer_lost"):
            raise ProviderUnavailable
        return box.contract

    def rent(self, label: str, host: str) -> Box:
        now, after = self._clock.now, self._clock.after
        lag = self._rng.uniform(0, 25) if self._faults.active else 1.0
        boots_at = None if self._faults.hit("never_boots") else after(self._rng.uniform(2, 25))
        contract = f"c{len(self.boxes) + 1}"
        box = Box(contract, label, host, now, boots_at, after(lag), now, now)
        self.boxes[contract] = box
        self._spoil(box)
        return box

    def _spoil(self, box: Box) -> None:
        """How a machine that was rented may not come up."""
        if self._faults.hit("host_failed"):
            box.trouble = "OCI runtime create failed"
        elif self._faults.hit("image_failed"):
            box.trouble, box.our_fault = "manifest unknown", True
        elif self._faults.hit("start_lost"):
            box.needs_start = True
        elif self._faults.hit("stopped_early"):
            box.stopped = True

    def start(self, contract: str) -> None:
        box = self.boxes[contract]
        if not box.alive:
            raise NotFound
        if self._faults.hit("start_refused"):
            raise NoCapacity
        if self._faults.hit("start_ignored"):
            return
        self.power_on(box)
        if self._faults.hit("start_answer_lost"):
            raise ProviderUnavailable

    def stop(self, contract: str) -> None:
        box = self.boxes[contract]
        if not box.alive:
            raise NotFound
        if self._faults.hit("stop_refused"):
            raise ProviderRefused
        if self._faults.hit("stop_lost"):
            raise ProviderUnavailable
        if not self._faults.hit("stop_ignored"):
            box.power_off()
        if self._faults.hit("stop_answer_lost"):
            raise ProviderUnavailable

    def power_on(self, box: Box) -> None:
        """It boots from the disk that is there. Nobody starts its agent."""
        box.needs_start = False
        if box.stopped:
            box.stopped, box.boots_at = False, self._clock.after(self._rng.uniform(2, 25))

    def attach_key(self, contract: str) -> None:
        if self._faults.hit("attach_refused"):
            raise RateLimited("in line", 2.0)
        if not self.boxes[contract].alive:
            raise NotFound

    def set_label(self, contract: str, label: str) -> None:
        if self._faults.hit("label_refused"):
            raise ProviderUnavailable
        if not self.boxes[contract].alive:
            raise NotFound
        self.boxes[contract].label = label
        if self._faults.hit("label_answer_lost"):
            raise ProviderUnavailable

    def listing(self) -> Listing:
        if self._faults.hit("list_error"):
            raise ProviderUnavailable
        if self._faults.hit("list_refused"):
            raise ProviderRefused
        now = self._clock.now
        labels = {box.contract: box.label for box in self.boxes.values() if box.listed(now)}
        return Listing(now, labels)

    def destroy(self, contract: str) -> None:
        if self._faults.hit("destroy_refused"):
            raise ProviderRefused
        if self._faults.hit("destroy_lost"):
            raise ProviderUnavailable
        if self._faults.hit("destroy_late"):
            self._later(lambda: self._end(contract))
            raise ProviderUnavailable
        if self._faults.hit("destroy_ignored"):
            return
        self._end(contract)
        if self._faults.hit("destroy_answer_lost"):
            raise ProviderUnavailable

    def _later(self, act: Callable[[], object]) -> None:
        self._landing.append((self._clock.after(self._rng.uniform(1, 20)), act))

    def _end(self, contract: str) -> None:
        box = self.boxes[contract]
        if box.alive:
            box.ended_at, box.destroyed = self._clock.now, True
            self._ended(box)
