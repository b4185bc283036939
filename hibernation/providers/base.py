"""What a provider of rented machines promises. Adding one is a folder with this Protocol and a registry line.

Every call returns quickly (a launch does not wait for the machine to boot), has its own timeouts, and raises
only ``ProviderError`` and its children from ``hibernation.domain.errors``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from hibernation.domain.offers import Offer, OfferFilter

__all__ = ["LaunchSpec", "Offer", "OfferFilter", "Provider", "RentedMachine"]


@dataclass(frozen=True, slots=True)
class LaunchSpec:
    """What to rent. ``label`` is unique to this attempt and committed in our database before the call."""

    label: str
    offer: Offer
    image: str
    disk_gb: int
    ssh_public_key: str
    env: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RentedMachine:
    """A machine as the provider lists it now. It bills from its appearance to its disappearance from the list.

    ``state`` is one of ``loading``, ``running``, ``stopped``, ``offline``. ``ssh_host`` and ``ssh_port`` are empty
    while the provider does not know them. ``host_key`` is the OpenSSH public host key if the provider tells it.
    """

    provider: str
    contract_id: str
    label: str
    state: str
    gpu_type: str
    gpu_count: int
    region: str
    price_per_hour: Decimal
    ssh_host: str = ""
    ssh_port: int = 0
    ssh_user: str = "root"
    host_key: str = ""
    workspace: str = "/workspace"
    started_at: datetime | None = None


class Provider(Protocol):
    """A marketplace of machines."""

    name: str

    def search_offers(self, want: OfferFilter) -> Sequence[Offer]:
        """Offers that fit, cheapest first. Safe to repeat. An empty result means «none now»."""

    def launch(self, spec: LaunchSpec) -> str:
        """Rent and return the contract id. NOT repeatable, and never retried: after an error look for the label.

        Raises ``OfferGone``/``ProviderRefused`` when certainly nothing was rented; any other ``ProviderError``
        means «it may exist».
        """

    def list_machines(self) -> Sequence[RentedMachine]:
        """The complete list of this account's machines, ours or not, or a ``ProviderError``: never a part."""

    def destroy(self, contract_id: str) -> None:
        """Ask to end the rental. Repeatable: a machine that is gone is success. Only a list proves it gone."""
