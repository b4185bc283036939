"""A machine: one rental, from the committed intent to the confirmed end."""

from __future__ import annotations

from decimal import Decimal

from django.db import models
from django.db.models import F, Q

from hibernation.domain.states import LIVE_MACHINE_STATES, MachineState, Phase
from hibernation.models.choices import choices, values


class Machine(models.Model):
    """One rental. ``label`` is ours and unique for ever; ``contract_id`` is the provider's.

    The row is committed in ``intended`` before any money is spent. ``token_epoch`` and ``heartbeat_seq`` belong to the
    agent on this very machine: the token dies with the rental. ``phase`` to ``alarmed_at``: what the provider's lists
    say of it, and what was done about it.
    """

    instance = models.ForeignKey(
        "hibernation.Instance", null=True, blank=True, on_delete=models.PROTECT, related_name="machines"
    )
    provider = models.CharField(max_length=32)
    label = models.CharField(max_length=128, unique=True)
    contract_id = models.CharField(max_length=64, null=True, blank=True)
    state = models.CharField(max_length=16, choices=choices(MachineState), default=MachineState.INTENDED)
    state_reason = models.TextField(blank=True)
    state_changed_at = models.DateTimeField()

    offer_id = models.CharField(max_length=128, blank=True)
    host = models.CharField(max_length=128, blank=True)
    gpu_type = models.CharField(max_length=64, blank=True)
    gpu_count = models.PositiveSmallIntegerField(default=1)
    region = models.CharField(max_length=32, blank=True)
    country = models.CharField(max_length=8, blank=True, help_text="as listed")
    price_per_hour = models.DecimalField(max_digits=10, decimal_places=4, help_text="USD")

    intended_at = models.DateTimeField()
    activated_at = models.DateTimeField(null=True, blank=True, help_text="when it came to hold the workspace")
    launched_at = models.DateTimeField(null=True, blank=True)
    destroyed_at = models.DateTimeField(null=True, blank=True)
    missing_since = models.DateTimeField(null=True, blank=True)
    destroy_due_at = models.DateTimeField(null=True, blank=True)
    destroy_attempts = models.PositiveIntegerField(default=0)

    parked_until = models.DateTimeField(null=True, blank=True, help_text="kept warm until then, stopped")
    parked_snapshot = models.ForeignKey(
        "hibernation.Snapshot",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="the copy of what its stopped disk holds",
    )

    phase = models.CharField(
        max_length=16, choices=choices(Phase), blank=True, help_text="by the provider's last list"
    )
    phase_reason = models.TextField(blank=True)
    phase_since = models.DateTimeField(null=True, blank=True, help_text="the first list that said so")
    phase_lists = models.PositiveIntegerField(default=0, help_text="lists in a row that said so")
    listed_at = models.DateTimeField(null=True, blank=True)
    price_now = models.DecimalField(
        max_digits=10, decimal_places=4, null=True, blank=True, help_text="USD an hour, as listed"
    )
    stopped_usd_hour = models.DecimalField(
        max_digits=10,
        decimal_places=6,
        null=True,
        blank=True,
        help_text="what its disk costs while it is stopped",
    )
    price_told = models.DecimalField(
        max_digits=10, decimal_places=4, null=True, blank=True, help_text="the highest that an event told"
    )
    upload_usd_gb = models.DecimalField(max_digits=10, decimal_places=4, default=Decimal(0))
    ends_at = models.DateTimeField(null=True, blank=True, help_text="the rental ends then, whatever we want")
    end_told_at = models.DateTimeField(null=True, blank=True)
    down_since = models.DateTimeField(
        null=True, blank=True, help_text="an event told that it stands still or cannot be reached"
    )
    starts = models.PositiveSmallIntegerField(
        default=0, help_text="how often it was started since it is down"
    )
    start_due_at = models.DateTimeField(null=True, blank=True)
    alarmed_at = models.DateTimeField(null=True, blank=True)

    ssh_host = models.CharField(max_length=255, blank=True)
    ssh_port = models.PositiveIntegerField(default=0)
    ssh_user = models.CharField(max_length=32, default="root")
    ssh_via = models.CharField(max_length=8, blank=True, help_text="direct or proxy")
    host_key = models.TextField(blank=True)
    workspace = models.CharField(max_length=1024, default="/workspace")

    gpus = models.JSONField(default=list, blank=True, help_text="names, as the machine tells them")
    driver = models.CharField(max_length=64, blank=True)
    cuda = models.CharField(max_length=32, blank=True, help_text="the newest that the driver serves")

    token_epoch = models.PositiveIntegerField(default=0)
    heartbeat_seq = models.BigIntegerField(default=0)
    boot_id = models.CharField(max_length=100, blank=True)
    agent_version = models.CharField(max_length=64, blank=True)
    first_heartbeat_at = models.DateTimeField(null=True, blank=True)
    last_reading = models.JSONField(default=dict, blank=True)

    class Meta:
        indexes = [models.Index(fields=["provider", "state"], name="machine_by_provider_and_state")]
        constraints = [
            models.CheckConstraint(name="machine_state_known", condition=Q(state__in=values(MachineState))),
            models.CheckConstraint(name="machine_phase_known", condition=Q(phase__in=["", *values(Phase)])),
            models.UniqueConstraint(
                name="one_live_machine_per_instance",
                fields=["instance"],
                condition=Q(state__in=sorted(LIVE_MACHINE_STATES)),
            ),
            models.UniqueConstraint(
                name="one_spare_per_instance",
                fields=["instance"],
                condition=Q(state=MachineState.SPARE),
            ),
            models.UniqueConstraint(
                name="one_kept_machine_per_instance",
                fields=["instance"],
                condition=Q(state__in=sorted(LIVE_MACHINE_STATES | {MachineState.PARKED})),
            ),
            models.CheckConstraint(
                name="machine_parked_is_saved",
                condition=~Q(state=MachineState.PARKED)
                | Q(parked_until__isnull=False, parked_snapshot__isnull=False),
            ),
            models.UniqueConstraint(
                name="one_row_per_contract",
                fields=["provider", "contract_id"],
                condition=Q(contract_id__isnull=False) & ~Q(state=MachineState.RELEASED),
            ),
            models.CheckConstraint(
                name="machine_rented_has_a_contract",
                condition=~Q(
                    state__in=[
                        MachineState.LAUNCHED,
                        MachineState.SPARE,
                        MachineState.ACTIVE,
                        MachineState.DESTROYING,
                        MachineState.DESTROYED,
                        MachineState.ADOPTING,
                        MachineState.RELEASED,
                        MachineState.PARKED,
                    ]
                )
                | Q(contract_id__isnull=False),
            ),
            models.CheckConstraint(
                name="machine_ends_after_it_begins",
                condition=Q(destroyed_at__isnull=True) | Q(destroyed_at__gte=F("intended_at")),
            ),
        ]

    def __str__(self) -> str:
        return self.contract_id or self.label
