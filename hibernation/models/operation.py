"""An operation: one run of hibernate or wake. This row is the truth; the Celery chain only executes it."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q

from hibernation.domain.states import OperationKind, OperationState
from hibernation.models.choices import choices, values


class Operation(models.Model):
    """One run. Whoever holds ``lease_token`` until ``lease_until`` may settle ``step``; nobody else.

    ``next_attempt_at`` is when the step may be claimed; ``memo`` is the steps' own working memory
    (``hibernation.domain.facts.Memo``); ``progress`` is what people see.
    """

    instance = models.ForeignKey(
        "hibernation.Instance", on_delete=models.PROTECT, related_name="operations", db_index=False
    )
    kind = models.CharField(max_length=16, choices=choices(OperationKind))
    state = models.CharField(max_length=16, choices=choices(OperationState))
    step = models.CharField(max_length=16)
    actor = models.CharField(max_length=100, default="system")
    reason = models.TextField(blank=True)
    forced = models.BooleanField(default=False)
    params = models.JSONField(default=dict, blank=True)
    idempotency_key = models.CharField(max_length=128, null=True, blank=True)
    status_before = models.CharField(max_length=16, blank=True)

    lease_token = models.UUIDField(null=True, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    next_attempt_at = models.DateTimeField()
    entered_at = models.DateTimeField()
    deadline_at = models.DateTimeField()
    waits = models.PositiveIntegerField(default=0)
    failures = models.PositiveIntegerField(default=0)
    memo = models.JSONField(default=dict, blank=True)
    progress = models.JSONField(default=dict, blank=True)
    waiting_for = models.TextField(blank=True)

    cancel_reason = models.CharField(max_length=32, blank=True)
    point_of_no_return_at = models.DateTimeField(null=True, blank=True)
    machine = models.ForeignKey(
        "hibernation.Machine",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="operations",
        db_index=False,
    )
    spare = models.ForeignKey(
        "hibernation.Machine",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        db_index=False,
        help_text="of the two that a wake tries, the one not in hand",
    )
    snapshot = models.ForeignKey(
        "hibernation.Snapshot", null=True, blank=True, on_delete=models.PROTECT, related_name="operations"
    )

    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    result = models.JSONField(default=dict, blank=True)
    error_code = models.CharField(max_length=64, blank=True)
    error = models.TextField(blank=True)

    class Meta:
        indexes = [
            models.Index(
                fields=["next_attempt_at"], name="operation_due", condition=Q(state=OperationState.RUNNING)
            ),
            models.Index(fields=["instance", "-id"], name="operation_of_instance"),
            models.Index(fields=["machine"], name="operation_of_machine", condition=Q(machine__isnull=False)),
            models.Index(fields=["spare"], name="operation_of_spare", condition=Q(spare__isnull=False)),
        ]
        constraints = [
            models.CheckConstraint(
                name="operation_state_known", condition=Q(state__in=values(OperationState))
            ),
            models.CheckConstraint(name="operation_kind_known", condition=Q(kind__in=values(OperationKind))),
            models.UniqueConstraint(
                name="one_running_operation_per_instance",
                fields=["instance"],
                condition=Q(state=OperationState.RUNNING),
            ),
            models.UniqueConstraint(
                name="one_queued_operation_per_instance",
                fields=["instance"],
                condition=Q(state=OperationState.QUEUED),
            ),
            models.UniqueConstraint(
                name="one_operation_per_idempotency_key",
                fields=["instance", "kind", "idempotency_key"],
                condition=Q(idempotency_key__isnull=False),
            ),
            models.CheckConstraint(
                name="operation_lease_is_whole",
                condition=Q(lease_token__isnull=True, lease_until__isnull=True)
                | Q(lease_token__isnull=False, lease_until__isnull=False),
            ),
            models.CheckConstraint(
                name="operation_lease_only_while_running",
                condition=Q(lease_token__isnull=True) | Q(state=OperationState.RUNNING),
            ),
            models.CheckConstraint(
                name="operation_ends_once",
                condition=Q(
                    finished_at__isnull=True, state__in=[OperationState.QUEUED, OperationState.RUNNING]
                )
                | Q(
                    finished_at__isnull=False,
                    state__in=[OperationState.SUCCEEDED, OperationState.FAILED, OperationState.CANCELLED],
                ),
            ),
            models.CheckConstraint(
                name="operation_spare_is_of_a_running_wake",
                condition=Q(spare__isnull=True) | Q(kind=OperationKind.WAKE, state=OperationState.RUNNING),
            ),
            models.CheckConstraint(
                name="operation_spare_is_another",
                condition=Q(spare__isnull=True) | Q(machine__isnull=True) | ~Q(spare=F("machine")),
            ),
            models.CheckConstraint(
                name="no_return_needs_a_snapshot",
                condition=Q(point_of_no_return_at__isnull=True) | Q(snapshot__isnull=False),
            ),
            models.CheckConstraint(
                name="operation_finishes_after_it_starts",
                condition=Q(finished_at__isnull=True) | Q(finished_at__gte=F("created_at")),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.pk} of {self.instance_id}"


class OperationStep(models.Model):
    """One visit to one step, over now: how long it took and how often it looked. The present one is the operation's."""

    operation = models.ForeignKey(Operation, on_delete=models.CASCADE, related_name="steps")
    step = models.CharField(max_length=16)
    entered_at = models.DateTimeField()
    finished_at = models.DateTimeField()
    waits = models.PositiveIntegerField(default=0)
    failures = models.PositiveIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.step} of operation {self.operation_id}"
