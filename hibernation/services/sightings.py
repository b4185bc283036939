"""What one complete list says, written to our rows: each machine's phase, price and end, and how fresh all that is.

The reconciler alone writes here, so that one list a tick feeds everything that asks about phases and prices.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import transaction

from hibernation.domain.states import MachineState, Phase
from hibernation.models import Machine, ProviderAccount
from hibernation.providers.base import RentedMachine

SPENDS = frozenset({Phase.LOADING, Phase.RUNNING, Phase.STOPPING, Phase.FAILED})
"""Phases in which the whole price of an hour may be due; in all others that of the disk."""
_SAME_END = timedelta(minutes=1)
_FIELDS = (
    "phase",
    "phase_reason",
    "phase_since",
    "phase_lists",
    "listed_at",
    "price_now",
    "stopped_usd_hour",
    "country",
    "upload_usd_gb",
    "ends_at",
    "end_told_at",
)


def note_list(provider: str, listed: Mapping[str, RentedMachine], taken_at: datetime) -> None:
    """Remember a complete list, ``listed`` by contract id. An older one than the last changes nothing.

    A row that is being changed just now is left to the next list.
    """
    _note_machines(provider, listed, taken_at)
    burn = sum(map(_an_hour_of, listed.values()), Decimal(0))
    _note(provider, listed_at=taken_at, list_error="", burn_per_hour=burn)


@transaction.atomic
def _note_machines(provider: str, listed: Mapping[str, RentedMachine], taken_at: datetime) -> None:
    """Under locks: what a machine's change of state has cleared must not be written back."""
    rows = Machine.objects.select_for_update(no_key=True, skip_locked=True)
    known = rows.filter(provider=provider, contract_id__in=listed).exclude(state=MachineState.RELEASED)
    newer = [row for row in known if _is_news(row, taken_at)]
    for row in newer:
        _see(row, listed[row.contract_id or ""], taken_at)
    Machine.objects.bulk_update(newer, _FIELDS)


def _an_hour_of(found: RentedMachine) -> Decimal:
    return found.price_per_hour if found.phase in SPENDS else found.stopped_usd_hour or Decimal(0)


def note_no_list(provider: str, why: str) -> None:
    """No complete list could be had. That says nothing about any machine."""
    _note(provider, list_error=why)


def _note(provider: str, **facts: datetime | str | Decimal) -> None:
    if not ProviderAccount.objects.filter(provider=provider).update(**facts):
        ProviderAccount.objects.get_or_create(provider=provider, defaults=facts)


def _is_news(row: Machine, taken_at: datetime) -> bool:
    """A list that was taken before a machine was parked says nothing of how it stands since."""
    if row.state == MachineState.PARKED and taken_at <= row.state_changed_at:
        return False
    return row.listed_at is None or row.listed_at < taken_at


def _see(row: Machine, found: RentedMachine, taken_at: datetime) -> None:
    again = row.phase == found.phase and not _was_seen_before_parking(row)
    row.phase_lists = row.phase_lists + 1 if again else 1
    row.phase_since = row.phase_since if again else taken_at
    row.phase, row.phase_reason, row.listed_at = found.phase, found.reason, taken_at
    row.price_now, row.upload_usd_gb = found.price_per_hour, found.upload_usd_gb
    row.stopped_usd_hour, row.country = found.stopped_usd_hour, found.country or row.country
    if not _is_same_end(row.ends_at, found.ends_at):
        row.ends_at, row.end_told_at = found.ends_at, None


def _was_seen_before_parking(row: Machine) -> bool:
    since = row.phase_since
    return row.state == MachineState.PARKED and since is not None and since <= row.state_changed_at


def _is_same_end(before: datetime | None, now: datetime | None) -> bool:
    if before is None or now is None:
        return before is now
    return abs(before - now) < _SAME_END
