"""The provider ``runpod``: pods of Runpod. It has types in data centres instead of offers, and no hosts to choose."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from hibernation.domain.errors import NotFound, NotSupported, ProviderError, ProviderRefused
from hibernation.domain.offers import Offer, OfferFilter, fits
from hibernation.providers.base import LaunchSpec, PriceRise, RentedMachine
from hibernation.providers.fields import row_of, text_of
from hibernation.providers.runpod.client import RunpodClient
from hibernation.providers.runpod.orders import KEY_VARIABLE, SMALLEST_VOLUME_GB, catalogue_query, order_of
from hibernation.providers.runpod.parsing import NAME, machine_of, offers_of
from hibernation.providers.runpod.places import CLOUDS
from hibernation.providers.shelf import Shelf, shared

SHARED_SECONDS = 20.0
"""How long the catalogue that one has read also serves others."""
_STARTED = frozenset({"PROVISIONING", "STARTING", "RUNNING"})
_STOPPED = frozenset({"EXITED"})
# Deleted for good, whatever still tells of it.
_ENDED = "TERMINATED"


class RunpodProvider:
    """A ``Provider``. Thread-safe."""

    name = NAME
    can_stop = True
    can_park = False
    lists_cost = True

    def __init__(self, client: RunpodClient, shelf: Shelf, *, shared_seconds: float = SHARED_SECONDS) -> None:
        self._client = client
        self._shelf = shelf
        self._shared_seconds = shared_seconds

    def search_offers(self, want: OfferFilter) -> Sequence[Offer]:
        """What is free where, in both clouds. A catalogue is no promise: an order for it may find nothing."""
        disk = max(want.min_disk_gb, SMALLEST_VOLUME_GB)
        offers = [offer for cloud in CLOUDS for offer in self._in_cloud(want, cloud, disk)]
        fitting = [offer for offer in offers if fits(offer, want)]
        return sorted(fitting, key=lambda offer: (offer.price_per_hour, offer.offer_id))

    def launch(self, spec: LaunchSpec) -> str:
        return self._client.create(order_of(spec), who=spec.place, secrets=tuple(spec.env.values()))

    def list_machines(self) -> Sequence[RentedMachine]:
        return [machine_of(row) for row in self._client.pods() if row.get("status") != _ENDED]

    def destroy(self, contract_id: str) -> None:
        try:
            self._client.terminate(contract_id)
        except NotFound:
            return

    def stop(self, contract_id: str) -> None:
        """The workspace stays; what else was written is lost, the agent too."""
        self._act(contract_id, "stop", _STOPPED)

    def start(self, contract_id: str) -> None:
        """On the same host, or not at all."""
        self._act(contract_id, "start", _STARTED)

    def attach_key(self, contract_id: str, ssh_public_key: str) -> None:
        """A pod lets in the keys of its launch and no others: ``NotSupported`` for those."""
        known = text_of(row_of(self._client.pod(contract_id), "env"), KEY_VARIABLE)
        if _key(ssh_public_key) not in map(_key, known.splitlines()):
            raise NotSupported("Runpod lets no further key into a pod that is there already.")

    def set_label(self, contract_id: str, label: str) -> None:
        """A pod keeps the name that it was launched with."""
        raise NotSupported("Runpod gives no pod another name.")

    def logs(self, contract_id: str, lines: int = 200) -> str:
        """Runpod has only a stream without an end."""
        return ""

    def credit(self) -> Decimal | None:
        return None

    def price_rises(self) -> Sequence[PriceRise]:
        return []

    def _in_cloud(self, want: OfferFilter, cloud: str, disk_gb: int) -> list[Offer]:
        query = catalogue_query(want, cloud)
        rows = shared(self._shelf, query, self._shared_seconds, lambda who: self._client.gpus(query, who=who))
        if rows and not any(text_of(row, "id") for row in rows):
            raise ProviderError(f"None of {len(rows)} GPU types of Runpod can be understood.")
        return [offer for row in rows for offer in offers_of(row, cloud, want.gpu_count, disk_gb)]

    def _act(self, contract_id: str, action: str, done: frozenset[str]) -> None:
        """Runpod refuses what is done already, and tells it apart from nothing else: so it is looked at."""
        try:
            self._client.act(contract_id, action)
        except ProviderRefused:
            if text_of(self._client.pod(contract_id), "status") not in done:
                raise


def _key(line: str) -> list[str]:
    """Without its comment."""
    return line.split()[:2]
