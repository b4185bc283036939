"""A marketplace in memory that can refuse, lose its answers and be slow to end a rental."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from hibernation.domain.errors import NotFound, NotSupported, ProviderError
from hibernation.domain.offers import Offer, OfferFilter
from hibernation.providers.base import LaunchSpec, Phase, PriceRise, RentedMachine, SshAddress
from tests.factories import PROVIDER, make_offer


@dataclass
class FakeProvider:
    """``launch_faults``: one per coming launch; ``(error, rented)`` raises, after renting if ``rented``.

    ``destroys_refused``: so many destroys fail; ``destroys_ignored``: so many are accepted and do nothing.
    """

    log: list[str]
    name: str = PROVIDER
    can_stop: bool = False
    can_park: bool = False
    lists_cost: bool = True
    offers: list[Offer] = field(default_factory=lambda: [make_offer(n) for n in range(1, 4)])
    orders: list[LaunchSpec] = field(default_factory=list)
    machines: dict[str, RentedMachine] = field(default_factory=dict)
    workspace: str = "/workspace"
    launch_faults: list[tuple[ProviderError, bool]] = field(default_factory=list)
    destroys_refused: int = 0
    destroys_ignored: int = 0
    list_error: ProviderError | None = None
    start_errors: list[ProviderError] = field(default_factory=list)
    stop_errors: list[ProviderError] = field(default_factory=list)
    stops_ignored: int = 0
    credit_left: Decimal | None = None
    credit_error: ProviderError | None = None
    rises: list[PriceRise] = field(default_factory=list)
    hidden: set[str] = field(default_factory=set)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(9000))

    def search_offers(self, want: OfferFilter) -> Sequence[Offer]:
        self.log.append("search")
        return list(self.offers)

    def launch(self, spec: LaunchSpec) -> str:
        self.log.append(f"launch {spec.offer.offer_id}")
        self.orders.append(spec)
        error, rented = self.launch_faults.pop(0) if self.launch_faults else (None, True)
        contract = self.rent(spec.label, spec.offer.price_per_hour) if rented else ""
        if error is not None:
            raise error
        return contract

    def rent(self, label: str, price: Decimal = Decimal("0.3"), contract: str | None = None) -> str:
        contract = contract or f"{next(self.numbers)}"
        self.machines[contract] = RentedMachine(
            provider=self.name,
            contract_id=contract,
            label=label,
            phase=Phase.RUNNING,
            gpu_type="RTX 4090",
            gpu_count=1,
            region="PT",
            price_per_hour=price,
            ssh=(SshAddress("127.0.0.1", 22),),
            host_key="ssh-ed25519 AAAA",
            workspace=f"{self.workspace}/{contract}/workspace",
        )
        return contract

    def list_machines(self) -> Sequence[RentedMachine]:
        self.log.append("list")
        if self.list_error is not None:
            raise self.list_error
        return [machine for contract, machine in self.machines.items() if contract not in self.hidden]

    def destroy(self, contract_id: str) -> None:
        self.log.append(f"destroy {contract_id}")
        if self.destroys_refused:
            self.destroys_refused -= 1
            raise ProviderError("the provider is out of order")
        if self.destroys_ignored:
            self.destroys_ignored -= 1
            return
        self.machines.pop(contract_id, None)

    def stop(self, contract_id: str) -> None:
        self.log.append(f"stop {contract_id}")
        if not self.can_stop:
            raise NotSupported
        if self.stop_errors:
            raise self.stop_errors.pop(0)
        if contract_id not in self.machines:
            raise NotFound
        if self.stops_ignored:
            self.stops_ignored -= 1
            return
        self.show(contract_id, phase=Phase.STOPPED, reason="")

    def start(self, contract_id: str) -> None:
        self.log.append(f"start {contract_id}")
        if not self.can_stop:
            raise NotSupported
        if self.start_errors:
            raise self.start_errors.pop(0)
        self.show(contract_id, phase=Phase.RUNNING, reason="")

    def attach_key(self, contract_id: str, ssh_public_key: str) -> None:
        self.log.append(f"attach_key {contract_id}")

    def set_label(self, contract_id: str, label: str) -> None:
        self.log.append(f"set_label {contract_id}")
        if contract_id not in self.machines:
            raise NotFound
        self.machines[contract_id] = replace(self.machines[contract_id], label=label)

    def logs(self, contract_id: str, lines: int = 200) -> str:
        return ""

    def show(self, contract_id: str, **changes: Any) -> None:
        """List this machine with other facts from now on."""
        self.machines[contract_id] = replace(self.machines[contract_id], **changes)

    def credit(self) -> Decimal | None:
        if self.credit_error is not None:
            raise self.credit_error
        return self.credit_left

    def price_rises(self) -> Sequence[PriceRise]:
        return list(self.rises)

    def calls(self, verb: str) -> list[str]:
        return [call for call in self.log if call.split()[0] == verb]


current: FakeProvider | None = None


def make() -> FakeProvider:
    """What the registry calls."""
    if current is None:
        raise AssertionError("no world")
    return current
