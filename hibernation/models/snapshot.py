"""Snapshots and the packs they are stored in. A snapshot exists from the commit of its manifest's hash."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from hibernation.domain.states import SnapshotState
from hibernation.models.choices import choices, values

STATES = choices(SnapshotState)


class Snapshot(models.Model):
    """One saved state of a workspace. Sizes in bytes; ``round`` counts the freezes of one hibernation."""

    name = models.CharField(max_length=128, unique=True)
    instance = models.ForeignKey("hibernation.Instance", on_delete=models.PROTECT, related_name="snapshots")
    parent = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    state = models.CharField(max_length=16, choices=STATES, default=SnapshotState.WRITING)
    state_reason = models.TextField(blank=True)
    round = models.PositiveSmallIntegerField(default=0)
    created_at = models.DateTimeField()
    frozen_at = models.DateTimeField(null=True, blank=True)
    verified_at = models.DateTimeField(null=True, blank=True)

    damaged_at = models.DateTimeField(
        null=True, blank=True, help_text="when stored bytes of it were found wrong, after it was proven"
    )
    proof_asked_at = models.DateTimeField(
        null=True, blank=True, help_text="when somebody asked to have it proven again, and it is not yet"
    )
    proof_asked_by = models.CharField(max_length=100, blank=True)
    deleted_at = models.DateTimeField(null=True, blank=True)
    kept = models.BooleanField(
        default=False, help_text="kept until somebody lets it go, whatever the rules say"
    )

    format_version = models.PositiveSmallIntegerField(default=2)
    key = models.ForeignKey("hibernation.WorkspaceKey", on_delete=models.PROTECT, related_name="snapshots")
    manifest_key = models.CharField(max_length=255, blank=True)
    manifest_size = models.BigIntegerField(default=0)
    manifest_sha256 = models.CharField(max_length=64, blank=True)
    manifest_id = models.CharField(
        max_length=64, blank=True, help_text="keyed BLAKE3 of the decoded manifest"
    )
    files = models.BigIntegerField(default=0)
    bytes_logical = models.BigIntegerField(default=0)
    bytes_stored_new = models.BigIntegerField(default=0)
    report = models.JSONField(
        default=dict, blank=True, help_text="what was skipped or changed while it was read"
    )
    packs: models.ManyToManyField[Pack, models.Model] = models.ManyToManyField(
        "hibernation.Pack", related_name="snapshots", blank=True
    )

    class Meta:
        indexes = [
            models.Index(fields=["instance", "-id"], name="snapshot_of_instance"),
            models.Index(
                fields=["proof_asked_at"],
                name="snapshot_proof_asked",
                condition=Q(proof_asked_at__isnull=False),
            ),
        ]
        constraints = [
            models.CheckConstraint(name="snapshot_state_known", condition=Q(state__in=values(SnapshotState))),
            models.CheckConstraint(
                name="snapshot_proof_is_asked_by_somebody",
                condition=Q(proof_asked_at__isnull=True, proof_asked_by="")
                | Q(proof_asked_at__isnull=False) & ~Q(proof_asked_by=""),
            ),
            models.CheckConstraint(
                name="snapshot_verified_is_complete",
                condition=~Q(state=SnapshotState.VERIFIED)
                | (Q(verified_at__isnull=False) & ~Q(manifest_key="") & ~Q(manifest_sha256="")),
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Pack(models.Model):
    """One immutable stored object. ``key`` is random and ours; ``crc32`` and ``size`` are what the box announced.

    ``verified_at`` is when the control plane last found its bytes right, by reading them back or by the checksum the
    store made of what it received. ``decoded_at`` is when all of it was decoded; ``proof`` is a hash of what the
    manifest said of its content then, so that another manifest's claims about it are checked anew.
    ``damaged_at``: its bytes were found wrong; nothing but decoding all of it takes that back.
    ``condemned_at``: no snapshot needs it, and it is about to be deleted; nothing may refer to it any more.
    """

    key = models.CharField(max_length=255, unique=True)
    instance = models.ForeignKey("hibernation.Instance", on_delete=models.PROTECT, related_name="packs")
    kind = models.CharField(max_length=16, choices=[("pack", "pack"), ("manifest", "manifest")])
    tier = models.PositiveSmallIntegerField(default=0)
    size = models.BigIntegerField()
    crc32 = models.CharField(max_length=8)
    created_at = models.DateTimeField()
    verified_at = models.DateTimeField(null=True, blank=True)
    decoded_at = models.DateTimeField(null=True, blank=True)
    proof = models.CharField(max_length=64, blank=True)
    damaged_at = models.DateTimeField(null=True, blank=True)
    condemned_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.CheckConstraint(name="pack_has_bytes", condition=Q(size__gt=0))]

    def __str__(self) -> str:
        return self.key


class WorkspaceKey(models.Model):
    """The data key of a workspace's snapshots, 32 random bytes, wrapped by a key of the installation.

    Every snapshot says which one it was made with. The newest is used for the next snapshot.
    """

    instance = models.ForeignKey("hibernation.Instance", on_delete=models.PROTECT, related_name="keys")
    encrypts = models.BooleanField(help_text="else it only names chunks, and packs are stored in the clear")
    wrapped = models.BinaryField(max_length=128)
    wrapped_by = models.CharField(max_length=16, help_text="the fingerprint of the wrapping key")
    created_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["instance", "-id"], name="key_of_instance")]

    def __str__(self) -> str:
        return f"{self.instance_id}/{self.pk}"
