"""Proofs that somebody asked for, of snapshots that were proven before: made in slices by a tick, told when done.

The wish is a row, so that no lost message forgets it, and no worker is held longer than ``SLICE``.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction

from hibernation.domain.errors import Conflict, DumontError, NotFound, SnapshotUnproven
from hibernation.domain.states import EventType, SnapshotState
from hibernation.models import Snapshot
from hibernation.services.clock import db_now
from hibernation.services.damage import clear_damage, record_damage
from hibernation.services.proving import Prover, Tally, record_proof
from hibernation.services.requests import lock_instance
from hibernation.services.transitions import emit
from hibernation.snapshots.verification import Fault

log = logging.getLogger(__name__)

SLICE = timedelta(seconds=60)
"""Of one tick; the next one goes on reading where this one was."""
PATIENCE = timedelta(hours=1)
"""How long a store that does not answer is asked again."""


@transaction.atomic
def ask_proof(instance_id: str, name: str, *, actor: str) -> Snapshot:
    """Have it proven again soon: what the store does not attest is read back, a sample decoded. Repeatable.

    ``Conflict`` for one that was never proven or is deleted.
    """
    lock_instance(instance_id)
    snapshot = Snapshot.objects.filter(instance=instance_id, name=name).first()
    if snapshot is None:
        raise NotFound(f"{instance_id} has no snapshot {name!r}.")
    if snapshot.state != SnapshotState.VERIFIED:
        raise Conflict(f"{name} is {snapshot.state}: only what was proven can be proven again.")
    if snapshot.proof_asked_at is None:
        snapshot.proof_asked_at, snapshot.proof_asked_by = db_now(), actor
        snapshot.save(update_fields=["proof_asked_at", "proof_asked_by"])
    return snapshot


def prove_asked() -> int:
    """Go on with the proofs that were asked for, for ``SLICE``; how many have ended. One bad row stops no other."""
    until, ended = time.monotonic() + SLICE.total_seconds(), 0
    asked = Snapshot.objects.filter(proof_asked_at__isnull=False).select_related("key")
    for snapshot in list(asked.order_by("proof_asked_at")):
        ended += _go_on(snapshot, until)
        if time.monotonic() >= until:
            break
    return ended


def _go_on(snapshot: Snapshot, until: float) -> bool:
    if snapshot.state != SnapshotState.VERIFIED:
        return _end(snapshot)
    try:
        return _prove(snapshot, until)
    except SnapshotUnproven as error:
        return _damaged(snapshot, [Fault(snapshot.manifest_key, error.message)])
    except DumontError as error:
        log.warning("%s cannot be proven again now: %s", snapshot.name, error)
        too_long = db_now() - _asked_at(snapshot) > PATIENCE
        return too_long and _end(snapshot, EventType.FAILED, f"could not be proven again: {error}")
    except Exception:
        log.exception("%s cannot be proven again", snapshot.name)
        return _end(snapshot, EventType.FAILED, "could not be proven again; the log says why")


def _prove(snapshot: Snapshot, until: float) -> bool:
    prover = Prover.open(snapshot)
    if prover.examiner.settle(until):
        return False
    faults = list(prover.look())
    pending = {} if faults else _tally(prover).pending
    faults += [wrong for _, wrong in prover.prove(pending, until=until) if wrong is not None]
    if faults:
        return _damaged(snapshot, faults)
    tally = _tally(prover)
    return not tally.pending and _proven(snapshot, tally)


def _tally(prover: Prover) -> Tally:
    """Nothing found right before it was asked counts; the sample stays the same from slice to slice."""
    asked_at = _asked_at(prover.snapshot)
    told = f"asked:{settings.SECRET_KEY}:{prover.snapshot.name}:{asked_at.isoformat()}"
    secret = hashlib.sha256(told.encode()).digest()
    return prover.tally(secret, everything=False, since=asked_at, oldest=asked_at)


def _asked_at(snapshot: Snapshot) -> datetime:
    if snapshot.proof_asked_at is None:
        raise AssertionError("nobody asked")
    return snapshot.proof_asked_at


def _proven(snapshot: Snapshot, tally: Tally) -> bool:
    clear_damage(snapshot, actor=snapshot.proof_asked_by)
    record_proof(snapshot, tally, "sampled")
    read = len(tally.packs) - tally.attested
    told = f"proven again on request: {len(tally.packs)} packs, {read} of them read back"
    return _end(snapshot, EventType.SNAPSHOT_VERIFIED, told)


def _damaged(snapshot: Snapshot, faults: Sequence[Fault]) -> bool:
    record_damage(snapshot, faults, actor=snapshot.proof_asked_by)
    return _end(snapshot)


@transaction.atomic
def _end(snapshot: Snapshot, event: EventType | None = None, reason: str = "") -> bool:
    """Whoever takes the wish off the row tells it."""
    instance, actor = lock_instance(snapshot.instance_id), snapshot.proof_asked_by
    asked = Snapshot.objects.filter(pk=snapshot.pk, proof_asked_at=snapshot.proof_asked_at)
    ended = asked.update(proof_asked_at=None, proof_asked_by="")
    if ended and event is not None:
        emit(event, f"{snapshot.name} {reason}" if event is EventType.FAILED else reason,
             instance=instance, now=db_now(), actor=actor, snapshot=snapshot)  # fmt: skip
    return bool(ended)
