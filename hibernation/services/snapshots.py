"""What a box may do with the store: upload objects of its own running freeze, download those of its own restore."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from hibernation.domain.errors import Conflict, InvalidRequest, NotFound
from hibernation.domain.states import OperationKind, OperationState, SnapshotState
from hibernation.models import Instance, Machine, Operation, Pack, Snapshot
from hibernation.services.clock import db_now
from hibernation.services.heartbeats import Forbidden
from hibernation.services.tokens import AgentToken
from hibernation.snapshots.registry import get_store
from hibernation.snapshots.store import SignedRequest

# At some MiB each, more than any rented disk holds, tries that failed included.
MAX_OBJECTS = 100_000
SAVING = (OperationKind.HIBERNATE, OperationKind.SNAPSHOT)


class TooManyObjects(InvalidRequest):
    """This snapshot has had more URLs than a workspace can need."""

    code = "too_many_objects"


class OperationCancelled(Conflict):
    """This snapshot is not wanted any more: stop."""

    code = "operation_cancelled"


@dataclass(frozen=True, slots=True)
class Announced:
    """An object the box wants to store: its kind, tier, size in bytes and CRC-32 in hex."""

    kind: str
    tier: int
    size: int
    crc32: str


@dataclass(frozen=True, slots=True)
class SignedObject:
    key: str
    request: SignedRequest


def issue_uploads(token: AgentToken, snapshot_name: str, objects: Sequence[Announced]) -> list[SignedObject]:
    """A fresh random key and a signed, expiring, size- and checksum-bound URL for each object.

    Only for the snapshot that a running, uncancelled operation of this very machine is writing, and only as many
    as a workspace can need: ``TooManyObjects``.
    """
    packs = _reserve(token, snapshot_name, objects)
    store, lifetime = get_store(), settings.DUMONT_STORE_URL_TTL
    return [
        SignedObject(p.key, store.sign_put(p.key, size=p.size, crc32=p.crc32, expires_in=lifetime))
        for p in packs
    ]


@transaction.atomic
def _reserve(token: AgentToken, snapshot_name: str, objects: Sequence[Announced]) -> list[Pack]:
    machine = _machine(token)
    snapshot = _snapshot(machine, snapshot_name)
    operation = Operation.objects.filter(
        state=OperationState.RUNNING, kind__in=SAVING, machine=machine, snapshot=snapshot
    ).first()
    if operation is None or operation.cancel_reason or snapshot.state != SnapshotState.WRITING:
        raise OperationCancelled(f"{snapshot_name} is not being written any more.")
    # Every freeze asks for fresh keys: without a bound a box could fill the database with wishes.
    asked = Pack.objects.filter(instance=machine.instance, created_at__gte=snapshot.created_at)
    if asked[:MAX_OBJECTS].count() + len(objects) > MAX_OBJECTS:
        raise TooManyObjects(f"{snapshot_name} has had {MAX_OBJECTS} objects: no snapshot needs as many.")
    now = db_now()
    return Pack.objects.bulk_create(_pack(machine.instance, one, now) for one in objects)


def _pack(instance: Instance | None, announced: Announced, now: datetime) -> Pack:
    if instance is None:
        raise Forbidden("This machine belongs to no instance.")
    folder = "manifests" if announced.kind == "manifest" else "packs"
    return Pack(
        key=f"{instance.pk}/{folder}/{secrets.token_hex(16)}",
        instance=instance,
        kind=announced.kind,
        tier=announced.tier,
        size=announced.size,
        crc32=announced.crc32,
        created_at=now,
    )


def issue_downloads(token: AgentToken, snapshot_name: str, keys: Sequence[str]) -> list[SignedObject]:
    """Signed, expiring URLs to read objects of one snapshot of this machine's own instance."""
    machine = _machine(token)
    snapshot = _snapshot(machine, snapshot_name)
    # The manifest's key is the machine's word: what was not issued to its own instance it may not read.
    own = Pack.objects.filter(
        Q(snapshots=snapshot) | Q(key=snapshot.manifest_key), instance=snapshot.instance
    )
    allowed = set(own.filter(key__in=keys).values_list("key", flat=True))
    missing = [key for key in keys if key not in allowed]
    if missing:
        raise NotFound(f"{snapshot_name} has no object {missing[0]!r}.")
    store, lifetime = get_store(), settings.DUMONT_STORE_URL_TTL
    return [SignedObject(key, store.sign_get(key, expires_in=lifetime)) for key in keys]


def _machine(token: AgentToken) -> Machine:
    machine = Machine.objects.select_related("instance").filter(pk=token.machine_id).first()
    if machine is None or machine.token_epoch != token.epoch or machine.state not in ("launched", "active"):
        raise Forbidden("This token does not speak for a rented machine (any more).")
    return machine


def _snapshot(machine: Machine, name: str) -> Snapshot:
    snapshot = Snapshot.objects.filter(name=name, instance_id=machine.instance_id).first()
    if snapshot is None:
        raise NotFound(f"This instance has no snapshot {name!r}.")
    return snapshot
