"""Proving the stored copy: read back by the control plane with its own eyes, in slices of bounded time."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

from django.db.models.functions import Now

from hibernation.domain.effects import Reply, VerifySeen
from hibernation.domain.errors import SnapshotUnproven
from hibernation.models import Pack, Snapshot
from hibernation.services.clock import db_now
from hibernation.services.keys import keys_of
from hibernation.services.steps.context import Context
from hibernation.snapshots.manifest import Manifest, ManifestRef, check_manifest_complete, read_manifest
from hibernation.snapshots.registry import get_store
from hibernation.snapshots.verification import check_objects, pack_claims, verify_pack

SLICE = timedelta(seconds=20)
PROOF_LASTS = timedelta(days=7)
"""Stored bytes can rot: an older proof is made again before another machine ends on it."""


def verify(context: Context) -> Reply:
    """Read back what is not proven, for at most ``SLICE``; ``SnapshotUnproven`` at the first doubt.

    The manifest and the presence and size of every pack are checked each time. A pack is read back and decoded whole
    before the first destroy that depends on it, when this manifest says anything else of it than the last, and weekly.
    """
    snapshot, keys = context.snapshot, keys_of(context.snapshot.key)
    store = get_store()
    _check_manifest_issued(snapshot)
    manifest = read_manifest(store, manifest_ref(snapshot), keys)
    check_manifest_complete(manifest)
    packs = _known_packs(snapshot, manifest)
    check_objects(store, manifest, {pack.key: (pack.size, pack.sha256) for pack in packs.values()})
    claims, oldest = pack_claims(manifest), db_now() - PROOF_LASTS
    unproven = [pack for pack in packs.values() if not _is_proven(pack, claims[pack.key], oldest)]
    until, done = time.monotonic() + SLICE.total_seconds(), len(packs) - len(unproven)
    for pack in unproven:
        proof = verify_pack(store, manifest, pack.key, keys, decode=True)
        if (proof.size, proof.sha256) != (pack.size, pack.sha256):
            raise SnapshotUnproven(f"pack {pack.key} is not what the machine announced")
        Pack.objects.filter(pk=pack.pk).update(verified_at=Now(), decoded_at=Now(), proof=claims[pack.key])
        done += 1
        if time.monotonic() > until:
            break
    return VerifySeen(done, len(packs))


def _is_proven(pack: Pack, claims: str, oldest: datetime) -> bool:
    return pack.verified_at is not None and pack.verified_at > oldest and pack.proof == claims


def manifest_ref(snapshot: Snapshot) -> ManifestRef:
    return ManifestRef(
        key=snapshot.manifest_key,
        size=snapshot.manifest_size,
        sha256=snapshot.manifest_sha256,
        id=snapshot.manifest_id,
    )


def _check_manifest_issued(snapshot: Snapshot) -> None:
    """The machine names its manifest; only one whose upload we signed for this instance is the machine's own."""
    issued = Pack.objects.filter(
        instance=snapshot.instance,
        kind="manifest",
        key=snapshot.manifest_key,
        size=snapshot.manifest_size,
        sha256=snapshot.manifest_sha256,
        condemned_at__isnull=True,
    )
    if not issued.exists():
        raise SnapshotUnproven(f"manifest {snapshot.manifest_key} was never issued to this instance")


def _known_packs(snapshot: Snapshot, manifest: Manifest) -> dict[str, Pack]:
    """The rows of every pack the manifest names: nothing that we did not issue for this instance counts."""
    wanted = {pack.key for pack in manifest.packs}
    own = Pack.objects.filter(instance=snapshot.instance, kind="pack", condemned_at__isnull=True)
    packs = {pack.key: pack for pack in own.filter(key__in=wanted)}
    missing = sorted(wanted - set(packs))
    if missing:
        raise SnapshotUnproven(f"the manifest names {missing[0]}, which this instance does not have")
    snapshot.packs.set(packs.values())
    return packs
