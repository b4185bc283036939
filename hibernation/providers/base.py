"""What a provider of rented machines promises. Adding one is a folder with this Protocol and a registry line.

Every call returns quickly (a launch does not wait for the machine to boot), has its own timeouts, and raises
only ``ProviderError`` and its children from ``hibernation.domain.errors``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

from hibernation.domain.offers import Offer, OfferFilter
from hibernation.domain.states import Phase

__all__ = [
    "LaunchSpec",
    "Offer",
    "OfferFilter",
    "Phase",
    "PriceRise",
    "Provider",
    "RentedMachine",
    "SshAddress",
]


@dataclass(frozen=True, slots=True)
class LaunchSpec:
    """What to rent. ``label`` is unique to this attempt and committed in our database before the call.

    ``at_once``: it is done without if launches queue; ``place``: the name in their line, none for who does not wait.
    """

    label: str
    offer: Offer
    image: str
    disk_gb: int
    ssh_public_key: str
    env: dict[str, str] = field(default_factory=dict, repr=False)
    ports: tuple[int, ...] = ()
    onstart: str = ""
    at_once: bool = False

    @property
    def place(self) -> str:
        return "" if self.at_once else self.label


@dataclass(frozen=True, slots=True)
class SshAddress:
    """Where a machine listens. ``via`` is ``direct`` or ``proxy``: a proxy is slower, and may die for itself."""

    host: str
    port: int
    user: str = "root"
    via: str = "direct"


@dataclass(frozen=True, slots=True)
class RentedMachine:
    """A machine as the provider lists it now. It bills from its appearance to its disappearance from the list.

    ``reason`` is the provider's own words. ``ssh`` is empty while the provider does not know it, the best address
    first. ``host_key`` is the OpenSSH public host key if the provider tells it. ``host`` and ``operator`` as in
    ``Offer``. ``is_our_fault``: it failed for its image or its order, not for the host. ``needs_start``: it loads, but
    its start got lost on the way and is to be sent once more. ``ends_at``: the rental ends then, whatever we want.
    ``upload_usd_gb``: what sending costs. ``stopped_usd_hour``: what its disk costs while it is stopped, if told.
    ``env``, ``ports``, ``onstart``: of its order, as far as the provider tells.
    """

    provider: str
    contract_id: str
    label: str
    phase: Phase
    gpu_type: str
    gpu_count: int
    region: str
    price_per_hour: Decimal
    reason: str = ""
    is_our_fault: bool = False
    needs_start: bool = False
    host: str = ""
    operator: str = ""
    country: str = ""
    disk_gb: int = 0
    image: str = ""
    ssh: tuple[SshAddress, ...] = ()
    host_key: str = ""
    workspace: str = "/workspace"
    started_at: datetime | None = None
    ends_at: datetime | None = None
    upload_usd_gb: Decimal = Decimal(0)
    stopped_usd_hour: Decimal | None = None
    env: dict[str, str] = field(default_factory=dict, compare=False, hash=False, repr=False)
    ports: tuple[int, ...] = ()
    onstart: str = field(default="", repr=False)
    raw: dict[str, Any] = field(default_factory=dict, compare=False, hash=False, repr=False)


@dataclass(frozen=True, slots=True)
class PriceRise:
    """A host asks for more: ``price_per_hour`` from ``since`` on, unless the rental ends before."""

    contract_id: str
    price_per_hour: Decimal
    since: datetime | None = None


class Provider(Protocol):
    """A marketplace of machines.

    ``can_stop``: a machine can be stopped, keep its disk and start again; else ``stop`` and ``start`` raise
    ``NotSupported``. ``can_park``: what was stopped starts again as it was, with its whole disk and its host key.
    ``lists_cost``: a list takes of a limit, so that wakes share one for some seconds.
    """

    name: str
    can_stop: bool
    can_park: bool
    lists_cost: bool

    def search_offers(self, want: OfferFilter) -> Sequence[Offer]:
        """Offers that fit, cheapest first. Safe to repeat. An empty result means «none now»."""

    def launch(self, spec: LaunchSpec) -> str:
        """Rent and return the contract id. NOT repeatable, and never retried: after an error look for the label.

        Raises ``OfferGone``, ``OutOfCredit``, ``BadOrder``, ``LaunchDeferred`` or another ``ProviderRefused`` when
        certainly nothing was rented, ``LaunchLeftover`` when something was but will not come up; any other
        ``ProviderError`` means «it may exist».
        """

    def list_machines(self) -> Sequence[RentedMachine]:
        """The complete list of this account's machines, ours or not, or a ``ProviderError``: never a part."""

    def destroy(self, contract_id: str) -> None:
        """Ask to end the rental. Repeatable: a machine that is gone is success. Only a list proves it gone."""

    def stop(self, contract_id: str) -> None:
        """Ask to stop: the GPU goes back, the disk stays and bills. Repeatable. ``NotFound`` if it is gone."""

    def start(self, contract_id: str) -> None:
        """Ask to run again. Repeatable. ``NoCapacity`` if its GPU is let to somebody else now; nothing is queued."""

    def attach_key(self, contract_id: str, ssh_public_key: str) -> None:
        """Let this key in. Repeatable. ``NotFound`` if the machine is gone."""

    def set_label(self, contract_id: str, label: str) -> None:
        """List the machine under this label from now on. Repeatable. ``NotFound`` if the machine is gone.

        ``NotSupported`` where a machine keeps the label of its launch.
        """

    def logs(self, contract_id: str, lines: int = 200) -> str:
        """The last lines of what the machine printed, for people. May be empty."""

    def credit(self) -> Decimal | None:
        """USD that are left on the account; ``None`` where the provider has no such thing."""

    def price_rises(self) -> Sequence[PriceRise]:
        """Rentals that will cost more unless they end."""
