"""Proving a stored snapshot: which packs are looked at, read back and decoded, and what the rows say afterwards.

Network only; nothing here holds a lock. Whoever proves decides what follows from a failure.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from django.db.models.functions import Now

from agents.snapshot.manifest import count
from hibernation.domain.errors import SnapshotUnproven
from hibernation.models import Pack, Snapshot
from hibernation.services.clock import db_now
from hibernation.services.keys import keys_of
from hibernation.snapshots.manifest import Manifest, ManifestRef, check_manifest_complete, read_manifest
from hibernation.snapshots.registry import get_store
from hibernation.snapshots.verification import Examiner, Fault, choose_to_decode

PROOF_LASTS = timedelta(days=7)
"""Stored bytes can rot: an older proof is made again before another machine ends on it."""
_LOOK_LASTS = 60.0


@dataclass(frozen=True, slots=True)
class Tally:
    """Packs of one snapshot by what is known of them. ``attested`` by the store, ``read_back`` and ``decoded`` by us.

    ``pending`` is what is still to be read, ``key → whether to decode``. Sizes in bytes.
    """

    packs: dict[str, Pack]
    pending: dict[str, bool]
    attested: int
    decoded: int

    @property
    def bytes_total(self) -> int:
        return sum(pack.size for pack in self.packs.values())

    @property
    def bytes_pending(self) -> int:
        return sum(self.packs[key].size for key in self.pending)

    def summary(self, rule: str) -> dict[str, str | int]:
        """For people, once nothing is pending."""
        return {
            "rule": rule,
            "packs": len(self.packs),
            "bytes": self.bytes_total,
            "attested": self.attested,
            "read_back": len(self.packs) - self.attested,
            "decoded": self.decoded,
        }


class Prover:
    """One snapshot whose manifest was read and found whole. Its packs' rows are read anew by each ``tally``."""

    def __init__(self, snapshot: Snapshot, examiner: Examiner) -> None:
        self.snapshot = snapshot
        self.examiner = examiner
        self.attested: frozenset[str] = frozenset()
        self._looked_at = float("-inf")

    @classmethod
    def open(cls, snapshot: Snapshot) -> Self:
        """Read the manifest and find its packs' rows, or ``SnapshotUnproven``. Links the packs to the snapshot."""
        _check_manifest_issued(snapshot)
        store, keys = get_store(), keys_of(snapshot.key)
        store.settle(snapshot.manifest_key)
        manifest = read_manifest(store, manifest_ref(snapshot), keys)
        check_manifest_complete(manifest)
        _check_as_told(snapshot, manifest)
        prover = cls(snapshot, Examiner(store, manifest, keys))
        snapshot.packs.set(prover.rows().values())
        Pack.objects.filter(key=snapshot.manifest_key).update(verified_at=Now(), damaged_at=None)
        return prover

    def rows(self) -> dict[str, Pack]:
        """The row of every pack the manifest names: nothing that we did not issue for this instance counts."""
        told = {pack.key: (pack.size, pack.crc32) for pack in self.examiner.manifest.packs}
        own = Pack.objects.filter(instance=self.snapshot.instance_id, kind="pack", condemned_at__isnull=True)
        packs = {pack.key: pack for pack in own.filter(key__in=told)}
        for key, facts in told.items():
            if key not in packs:
                raise SnapshotUnproven(f"the manifest names {key}, which this instance does not have")
            if (packs[key].size, packs[key].crc32) != facts:
                raise SnapshotUnproven(f"pack {key}: the manifest and our record differ in size or crc32")
        return packs

    def look(self) -> tuple[Fault, ...]:
        """Ask the store after every pack; what it attests is proven by that. The answer holds for a minute."""
        if time.monotonic() - self._looked_at < _LOOK_LASTS:
            return ()
        seen = self.examiner.look()
        Pack.objects.filter(key__in=seen.attested).update(verified_at=Now())
        self.attested = seen.attested
        if not seen.faults:
            self._looked_at = time.monotonic()
        return seen.faults

    def tally(self, secret: bytes, *, everything: bool, since: datetime, oldest: datetime) -> Tally:
        """What is still to be done, after ``look``. What was decoded after ``since`` counts for this sample.

        Bytes found right before ``oldest`` are read again.
        """
        packs, claims = self.rows(), self.examiner.claims
        decoded = {key for key, pack in packs.items() if pack.decoded_at and pack.proof == claims[key]}
        before = {key for key in decoded if _before(packs[key].decoded_at, since)}
        chosen = choose_to_decode(
            {key: pack.size for key, pack in packs.items() if key not in before},
            secret,
            everything=everything,
        ) | damaged(packs)
        unread = {key for key, pack in packs.items() if _before(pack.verified_at, oldest)}
        pending = {key: key in chosen - decoded for key in packs if key in unread | (chosen - decoded)}
        return Tally(packs, pending, len(self.attested & packs.keys()), len(decoded))

    def prove(self, pending: dict[str, bool], *, until: float) -> Iterator[tuple[str, Fault | None]]:
        """Read these packs back until ``until`` (monotonic) and note what is right; yields each key and its fault."""
        in_time = ((key, decode) for key, decode in pending.items() if time.monotonic() < until)
        for key, error in self.examiner.prove_all(in_time):
            if error is None:
                self._note(key, decoded=pending[key])
            yield key, None if error is None else Fault(key, error.message)

    def _note(self, key: str, *, decoded: bool) -> None:
        row = Pack.objects.filter(key=key)
        if decoded:
            claims = self.examiner.claims[key]
            row.update(verified_at=Now(), decoded_at=Now(), proof=claims, damaged_at=None)
        else:
            row.update(verified_at=Now())


def damaged(packs: Mapping[str, Pack]) -> set[str]:
    """Those found wrong once: a store that goes on attesting them proves nothing any more."""
    return {key for key, pack in packs.items() if pack.damaged_at is not None}


def manifest_ref(snapshot: Snapshot) -> ManifestRef:
    return ManifestRef(
        key=snapshot.manifest_key,
        size=snapshot.manifest_size,
        sha256=snapshot.manifest_sha256,
        id=snapshot.manifest_id,
    )


def record_proof(snapshot: Snapshot, tally: Tally, rule: str) -> None:
    """Write on the snapshot what was proven of it, for people to see."""
    said = tally.summary(rule) | {"at": db_now().isoformat(timespec="seconds")}
    report = Snapshot.objects.values_list("report", flat=True).get(pk=snapshot.pk)
    Snapshot.objects.filter(pk=snapshot.pk).update(report={**report, "verification": said})


def _check_as_told(snapshot: Snapshot, manifest: Manifest) -> None:
    """What the machine reported when it froze counts: a wake refuses a manifest of any other sums."""
    found, told = count(manifest), (snapshot.files, snapshot.bytes_logical)
    if manifest.snapshot != snapshot.name:
        raise SnapshotUnproven(f"manifest {snapshot.manifest_key} is that of {manifest.snapshot}")
    if found != told:
        raise SnapshotUnproven(
            f"the manifest holds {found[0]} files of {found[1]} bytes, the machine told {told[0]} of {told[1]}"
        )
    if manifest.unreadable_total > snapshot.report.get("unreadable_total", 0):
        raise SnapshotUnproven(f"{manifest.unreadable_total} files could not be read, and fewer were told")


def _before(moment: datetime | None, limit: datetime) -> bool:
    return moment is None or moment < limit


def _check_manifest_issued(snapshot: Snapshot) -> None:
    """The machine names its manifest; only one whose upload we signed for this instance is the machine's own."""
    issued = Pack.objects.filter(
        condemned_at__isnull=True,
        instance=snapshot.instance_id,
        kind="manifest",
        key=snapshot.manifest_key,
        size=snapshot.manifest_size,
    )
    if not issued.exists():
        raise SnapshotUnproven(f"manifest {snapshot.manifest_key} was never issued to this instance")
