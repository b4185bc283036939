"""The provider ``vast``: machines of vast.ai, through its HTTP interface."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

from hibernation.domain.errors import (
    NoCapacity,
    NotFound,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
)
from hibernation.domain.offers import Offer, OfferFilter, fits
from hibernation.providers.base import LaunchSpec, PriceRise, RentedMachine
from hibernation.providers.shelf import Shelf, shared
from hibernation.providers.vast.client import Row, VastClient
from hibernation.providers.vast.orders import ROWS_IN_PAGE, SMALLEST_DISK_GB, order_of, search_query
from hibernation.providers.vast.parsing import (
    NAME,
    credit_of,
    listed_price,
    machine_of,
    offer_of,
    price_rise_of,
)

MOST_PAGES = 4
"""Pages of a search. Ten a minute are allowed, for everybody together."""
SHARED_SECONDS = 20.0
"""How long the answer to a search also answers the same question of others."""


class VastProvider:
    """A ``Provider``. Thread-safe."""

    name = NAME
    can_stop = True
    can_park = True
    lists_cost = True

    def __init__(self, client: VastClient, shelf: Shelf, *, shared_seconds: float = SHARED_SECONDS) -> None:
        self._client = client
        self._shelf = shelf
        self._shared_seconds = shared_seconds

    def search_offers(self, want: OfferFilter) -> Sequence[Offer]:
        """At most the cheapest ``MOST_PAGES`` pages of what the server finds; each offer is checked again here."""
        disk = max(want.min_disk_gb, SMALLEST_DISK_GB)
        query = search_query(want)
        rows = shared(self._shelf, query, self._shared_seconds, lambda who: self._pages(want, who))
        offers = [offer for row in rows if _is_free(row) and (offer := offer_of(row, disk)) is not None]
        if rows and not any(offer_of(row, disk) for row in rows):
            raise ProviderError(f"None of {len(rows)} offers of vast.ai can be understood.")
        fitting = [offer for offer in offers if fits(offer, want)]
        return sorted(fitting, key=lambda offer: (offer.price_per_hour, offer.offer_id))

    def launch(self, spec: LaunchSpec) -> str:
        order = order_of(spec)
        secrets = tuple(spec.env.values())
        return self._client.create(spec.offer.offer_id, order, who=spec.place, secrets=secrets)

    def list_machines(self) -> Sequence[RentedMachine]:
        return [machine_of(row) for row in self._client.list_instances()]

    def destroy(self, contract_id: str) -> None:
        try:
            self._client.destroy(contract_id)
        except NotFound:
            return

    def stop(self, contract_id: str) -> None:
        self._client.set_state(contract_id, "stopped")

    def start(self, contract_id: str) -> None:
        """vast.ai queues a start that it refuses: taken back, or the machine would run some day and bill."""
        try:
            self._client.set_state(contract_id, "running")
        except NoCapacity:
            self._client.set_state(contract_id, "stopped", urgent=True)
            raise

    def attach_key(self, contract_id: str, ssh_public_key: str) -> None:
        self._client.attach_key(contract_id, ssh_public_key)

    def set_label(self, contract_id: str, label: str) -> None:
        self._client.set_label(contract_id, label)

    def logs(self, contract_id: str, lines: int = 200) -> str:
        return self._client.logs(contract_id, lines)

    def credit(self) -> Decimal | None:
        left = credit_of(self._client.account())
        if left is None:
            raise ProviderUnavailable("vast.ai does not say how much credit is left.")
        return left

    def price_rises(self) -> Sequence[PriceRise]:
        rises = (price_rise_of(row) for row in self._client.price_rises())
        return [rise for rise in rises if rise is not None]

    def _pages(self, want: OfferFilter, who: str) -> list[Row]:
        """The next page begins at the last one's dearest price. What a later page refuses, the first has cheaper."""
        rows: dict[str, Row] = {}
        query = search_query(want)
        for page in range(MOST_PAGES):
            try:
                found = self._client.search(query, who=who, urgent=page > 0)
            except RateLimited:
                if not rows:
                    raise
                break
            fresh = {str(row.get("id")): row for row in found}
            is_new = bool(fresh.keys() - rows.keys())
            rows |= fresh
            price = _dearest(found)
            if len(found) < ROWS_IN_PAGE or not is_new or price is None:
                break
            query = search_query(want, from_price=price)
        return list(rows.values())


def _is_free(row: Row) -> bool:
    """Filters are not always applied."""
    return (
        row.get("rentable") is not False
        and row.get("rented") is not True
        and row.get("is_bid") is not True
        and row.get("external") is not True
        and row.get("verification") in (None, "verified")
    )


def _dearest(rows: Iterable[Row]) -> Decimal | None:
    return max(filter(None, map(listed_price, rows)), default=None)
