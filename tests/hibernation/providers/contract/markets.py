"""A market for each provider, as the contract's tests want it: what may go wrong there, and what it costs."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import cast

from hibernation.providers.base import LaunchSpec, OfferFilter, Phase, Provider, RentedMachine
from hibernation.providers.limiter import Limiter
from hibernation.providers.local import LocalProvider, billing_now, set_faults
from hibernation.providers.runpod import RunpodProvider
from hibernation.providers.runpod.client import RunpodClient
from hibernation.providers.shelf import Shelf
from hibernation.providers.vast import VastProvider
from hibernation.providers.vast.client import PAGE, VastClient
from tests.fakes.clock import ManualClock
from tests.fakes.runpod import RunpodFake
from tests.fakes.vast import VastFake
from tests.hibernation.providers.free_limiter import EmptyShelf, FreeLimiter

_STEPS = 300
_BOOT_SECONDS = 0.2
# No limits are kept here: those have tests of their own.
_LIMITER, _SHELF = cast(Limiter, FreeLimiter()), cast(Shelf, EmptyShelf())


class Market(ABC):
    """A provider, and the account behind it seen from the other side.

    ``faults`` arms one by the contract's name for it; a name that is missing cannot happen there. ``mistaken`` is a
    provider with a key that nobody has.
    """

    provider: Provider
    mistaken: Provider | None = None
    faults: Mapping[str, Callable[[], None]]

    @abstractmethod
    def billed(self) -> list[str]:
        """The contracts that cost money now."""

    @abstractmethod
    def rent_past_us(self) -> str:
        """A machine of somebody else in the same account; returns its contract."""

    def pass_time(self) -> None:
        """A moment of the market's, in which machines boot and stop."""
        time.sleep(0.03)

    def launch(self, label: str, key_file: Path, want: OfferFilter | None = None) -> str:
        return self.provider.launch(self.order(label, key_file, want))

    def order(self, label: str, key_file: Path, want: OfferFilter | None = None) -> LaunchSpec:
        """For the cheapest offer."""
        offer = self.provider.search_offers(want or OfferFilter())[0]
        key = key_file.with_suffix(".pub").read_text()
        return LaunchSpec(label, offer, "image:1", 10, key, env={"A": "value-of-a-variable"})

    def machine(self, contract_id: str) -> RentedMachine:
        [found] = [one for one in self.provider.list_machines() if one.contract_id == contract_id]
        return found

    def until(self, contract_id: str, phase: Phase) -> RentedMachine:
        """The machine as soon as it is there."""
        for _ in range(_STEPS):
            machine = self.machine(contract_id)
            if machine.phase is phase:
                return machine
            self.pass_time()
        raise AssertionError(f"{contract_id} never became {phase}: {machine}")


class LocalMarket(Market):
    def __init__(self, root: Path) -> None:
        self.provider = self._local = LocalProvider(root)
        self.faults = {
            "offer_taken": lambda: set_faults(root, offer_gone=1),
            "answer_lost": lambda: set_faults(root, launch_answer_lost=1),
            "server_error_after": lambda: set_faults(root, launch_error=1),
            "list_fails": lambda: set_faults(root, list_fails=1),
            "destroy_ignored": lambda: set_faults(root, destroy_ignored=1),
        }

    def billed(self) -> list[str]:
        return billing_now(self._local.root)

    def rent_past_us(self) -> str:
        key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f nobody"
        offer = self._local.search_offers(OfferFilter())[0]
        return self._local.launch(LaunchSpec("somebody's", offer, "image", 10, key))


class _FakedMarket(Market):
    """Booting takes the time of the fake's clock, or its real machines' own."""

    fake: VastFake | RunpodFake

    def pass_time(self) -> None:
        if isinstance(self.fake.market.clock, ManualClock):
            self.fake.advance(5)
        else:
            super().pass_time()

    def armed(self, name: str, call: str = "", times: int | None = 1) -> Callable[[], None]:
        return lambda: self.fake.faults.arm(name, times, {"call": call} if call else None)


class VastMarket(_FakedMarket):
    def __init__(self, fake: VastFake, provider: Provider, mistaken: Provider) -> None:
        self.fake, self._vast, self.provider, self.mistaken = fake, fake, provider, mistaken
        self.faults = {
            "offer_taken": self.armed("offer_gone_404"),
            "order_lost": self.armed("dropped", "create"),
            "answer_lost": self.armed("response_lost", "create"),
            "server_error_after": self.armed("server_error_after", "create"),
            "too_fast": self.armed("rate_limited", "create"),
            "no_credit": self.armed("insufficient_credit"),
            "list_fails": self.armed("list_500", times=None),
            "list_cut": self._cut_list,
            "start_taken": self.armed("gpu_let_on_stop"),
            "destroy_ignored": self.armed("destroy_ignored"),
        }

    def billed(self) -> list[str]:
        return [str(one) for one in self._vast.billed()]

    def rent_past_us(self) -> str:
        return str(self._vast.rent(label="somebody's").id)

    def _cut_list(self) -> None:
        """It takes more than a page for one to be missing."""
        for _ in range(PAGE):
            self.rent_past_us()
        self.fake.faults.arm("list_cut", None)


class RunpodMarket(_FakedMarket):
    def __init__(self, fake: RunpodFake, provider: Provider, mistaken: Provider) -> None:
        self.fake, self._runpod, self.provider, self.mistaken = fake, fake, provider, mistaken
        self.faults = {
            "offer_taken": self.armed("no_capacity"),
            "order_lost": self.armed("dropped", "create"),
            "answer_lost": self.armed("response_lost", "create"),
            "server_error_after": self.armed("server_error_after", "create"),
            "too_fast": self.armed("rate_limited", "create"),
            "no_credit": self.armed("insufficient_402"),
            "list_fails": self.armed("server_error", "list", times=None),
            "list_cut": self.armed("no_rows", times=None),
            "start_taken": self.armed("start_taken"),
            "destroy_ignored": self.armed("destroy_ignored"),
        }

    def billed(self) -> list[str]:
        return self._runpod.billed()

    def rent_past_us(self) -> str:
        return self._runpod.rent("somebody's")


@contextmanager
def local_market(root: Path) -> Iterator[LocalMarket]:
    market = LocalMarket(root)
    try:
        yield market
    finally:
        LocalProvider(root).destroy_all()


@contextmanager
def vast_market(root: Path | None = None) -> Iterator[VastMarket]:
    """With ``root`` its machines are real."""
    clock = None if root else ManualClock(1_800_000_000.0)
    with (
        VastFake(root, clock, boot_seconds=_BOOT_SECONDS if root else 10.0) as fake,
        closing(_vast(fake, fake.key)) as ours,
        closing(_vast(fake, "nobody's-key")) as wrong,
    ):
        yield VastMarket(fake, VastProvider(ours, _SHELF), VastProvider(wrong, _SHELF))


@contextmanager
def runpod_market(root: Path | None = None) -> Iterator[RunpodMarket]:
    """With ``root`` its pods are real."""
    clock = None if root else ManualClock(1_800_000_000.0)
    with (
        RunpodFake(root, clock, boot_seconds=_BOOT_SECONDS if root else 10.0) as fake,
        closing(_runpod(fake, fake.key)) as ours,
        closing(_runpod(fake, "nobody's-key")) as wrong,
    ):
        yield RunpodMarket(fake, RunpodProvider(ours, _SHELF), RunpodProvider(wrong, _SHELF))


def _vast(fake: VastFake, key: str) -> VastClient:
    return VastClient(fake.url, key, _LIMITER, sleep=lambda _: None)


def _runpod(fake: RunpodFake, key: str) -> RunpodClient:
    return RunpodClient(f"{fake.url}/v2", key, _LIMITER, sleep=lambda _: None)
