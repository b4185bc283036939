"""The verify step: how much of a snapshot's stored copy is proven before anyone relies on it, in bounded slices."""

from __future__ import annotations

import hashlib
import time
from datetime import timedelta

from django.conf import settings

from hibernation.domain.effects import Reply, VerifySeen
from hibernation.domain.errors import SnapshotUnproven
from hibernation.domain.states import OperationKind, OperationState
from hibernation.models import Operation, Snapshot
from hibernation.services.clock import db_now
from hibernation.services.proving import PROOF_LASTS, Prover, Tally, record_proof
from hibernation.services.steps.context import Context

SLICE = timedelta(seconds=20)
_AT_LEAST = 5.0

# A long proof goes on with the manifest that it has parsed already, if it comes back to this process.
_unfinished: dict[int, Prover] = {}


def verify(context: Context) -> Reply:
    """Prove what is not proven, for at most ``SLICE``; ``SnapshotUnproven`` at the first doubt.

    Each time: the manifest, and presence, size and, where the store keeps one, checksum of every pack. A pack's bytes
    are read back unless the store attests them, and again weekly. Decoded is everything before the first rental of an
    instance ends on a snapshot, and later a sample of what nobody has decoded yet.
    """
    snapshot, began = context.snapshot, time.monotonic()
    prover = _prover(snapshot)
    # However long the manifest took, each slice gets on with the packs.
    until = max(began + SLICE.total_seconds(), time.monotonic() + _AT_LEAST)
    if prover.examiner.settle(until):
        _go_on_later(prover)
        return VerifySeen(packs_done=0, packs_total=len(prover.examiner.manifest.packs))
    for fault in prover.look():
        raise SnapshotUnproven(fault.why)
    everything = _everything(context.operation)
    before = _tally(prover, everything)
    for _, wrong in prover.prove(before.pending, until=until):
        if wrong is not None:
            raise SnapshotUnproven(wrong.why)
    tally = _tally(prover, everything)
    if tally.pending:
        _go_on_later(prover)
    else:
        record_proof(snapshot, tally, "full" if everything else "sampled")
    return _seen(tally, before.bytes_pending - tally.bytes_pending, time.monotonic() - began)


def _go_on_later(prover: Prover) -> None:
    _unfinished.clear()
    _unfinished[prover.snapshot.pk] = prover


def _prover(snapshot: Snapshot) -> Prover:
    kept = _unfinished.pop(snapshot.pk, None)
    if kept is not None and kept.snapshot.manifest_id == snapshot.manifest_id:
        return kept
    return Prover.open(snapshot)


def _everything(operation: Operation) -> bool:
    """Until a rental has ended on a snapshot of this instance, nothing has shown that it can be relied upon."""
    if settings.DUMONT_VERIFY == "full":
        return True
    ended = Operation.objects.filter(
        instance=operation.instance_id,
        kind=OperationKind.HIBERNATE,
        state=OperationState.SUCCEEDED,
        point_of_no_return_at__isnull=False,
    )
    return operation.kind == OperationKind.HIBERNATE and not ended.exists()


def _tally(prover: Prover, everything: bool) -> Tally:
    """The sample stays the same from slice to slice, in whatever process; a box cannot know it."""
    snapshot = prover.snapshot
    secret = hashlib.sha256(f"sample:{settings.SECRET_KEY}:{snapshot.name}".encode()).digest()
    since = snapshot.frozen_at or snapshot.created_at
    return prover.tally(secret, everything=everything, since=since, oldest=db_now() - PROOF_LASTS)


def _seen(tally: Tally, read: int, seconds: float) -> VerifySeen:
    rate = read / seconds if seconds > 0 else 0.0
    return VerifySeen(
        packs_done=len(tally.packs) - len(tally.pending),
        packs_total=len(tally.packs),
        packs_decoded=tally.decoded,
        bytes_done=tally.bytes_total - tally.bytes_pending,
        bytes_total=tally.bytes_total,
        rate_bps=rate,
        eta_seconds=tally.bytes_pending / rate if rate else None,
    )
