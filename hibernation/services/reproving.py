"""Proving a snapshot again, long after it was made: finds all that is damaged, not only the first, and records it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from hibernation.domain.errors import SnapshotUnproven
from hibernation.models import Snapshot
from hibernation.services.browse import shown
from hibernation.services.clock import db_now
from hibernation.services.damage import clear_damage, record_damage
from hibernation.services.proving import Prover, damaged, record_proof
from hibernation.snapshots.verification import Fault, choose_to_decode

_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Damage:
    """A stored object that is not right, why, and the files that need it, as people can read them."""

    key: str
    why: str
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one proof. ``error``: it could not be made, which says nothing about the copy."""

    name: str
    damage: tuple[Damage, ...] = ()
    summary: dict[str, str | int] = field(default_factory=dict)
    error: str = ""

    @property
    def good(self) -> bool:
        return not self.damage and not self.error

    def as_dict(self) -> dict[str, Any]:
        damage = [{"key": one.key, "why": one.why, "files": list(one.files)} for one in self.damage]
        proof = self.summary | {"error": self.error} if self.error else self.summary
        return {"snapshot": self.name, "good": self.good, "damage": damage, **proof}


def reprove(
    snapshot: Snapshot, secret: bytes, *, everything: bool, progress: Callable[[str, int, int], None]
) -> Verdict:
    """Prove ``snapshot`` again and write down what was found: proofs on its packs, or the damage for people to see.

    No earlier proof is trusted: what the store does not attest is read back, and a sample, or with ``everything`` all
    of it, is decoded. ``progress`` hears name, bytes that were looked at, and bytes in all. A ``StoreError`` says
    nothing about the copy; what was right until then stays noted.
    """
    try:
        prover = Prover.open(snapshot)
    except SnapshotUnproven as error:
        fault = Fault(snapshot.manifest_key, error.message)
        record_damage(snapshot, [fault])
        return Verdict(snapshot.name, (Damage(fault.key, fault.why, ()),))
    faults = {fault.key: fault for fault in prover.look()}
    rows = prover.rows()
    packs = {key: pack.size for key, pack in rows.items()}
    chosen = choose_to_decode(packs, secret, everything=everything) | damaged(rows)
    unread = packs.keys() - (prover.attested - chosen) - faults.keys()
    done, total = sum(packs.values()) - sum(packs[key] for key in unread), sum(packs.values())
    for key, wrong in prover.prove({key: key in chosen for key in packs if key in unread}, until=math.inf):
        if wrong is not None:
            faults[key] = wrong
        done += packs[key]
        progress(snapshot.name, done, total)
    return _conclude(prover, list(faults.values()), "full" if everything else "sampled")


def _conclude(prover: Prover, faults: list[Fault], rule: str) -> Verdict:
    snapshot = prover.snapshot
    if faults:
        record_damage(snapshot, faults)
        return Verdict(snapshot.name, tuple(_damage(prover, fault) for fault in faults))
    clear_damage(snapshot)
    tally = prover.tally(b"", everything=False, since=db_now(), oldest=_NEVER)
    record_proof(snapshot, tally, rule)
    return Verdict(snapshot.name, summary=tally.summary(rule))


def _damage(prover: Prover, fault: Fault) -> Damage:
    files = tuple(shown(path) for path in prover.examiner.files_in(fault.key))
    return Damage(fault.key, fault.why, files)
