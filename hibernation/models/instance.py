"""An instance: the lasting record of one workspace, its rules and where it stands. It outlives machines."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from django.core.validators import RegexValidator
from django.db import models
from django.db.models import F, Q

from hibernation.domain.idle import IdleState, Policy
from hibernation.domain.states import InstanceStatus
from hibernation.models.choices import choices, values

WARM_MINUTES_AT_MOST = 24 * 60
INSTANCE_ID = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"


class Instance(models.Model):
    """One workspace. The arrows of ``status`` stand in ``hibernation.domain.states.INSTANCE_ARROWS``.

    ``hibernate_due_at`` and ``delete_due_at`` are stored deadlines under partial indexes, so that a sweep reads only
    what is due. ``last_heartbeat_at`` and ``gpu_utilization`` are written with every heartbeat and must stay without
    an index: one would end HOT updates.
    """

    id = models.CharField(primary_key=True, max_length=64, validators=[RegexValidator(f"^{INSTANCE_ID}$")])
    name = models.CharField(max_length=100, blank=True)
    team = models.ForeignKey("hibernation.Team", on_delete=models.PROTECT, related_name="instances")
    status = models.CharField(
        max_length=16, choices=choices(InstanceStatus), default=InstanceStatus.PROVISIONING
    )
    status_changed_at = models.DateTimeField()
    created_at = models.DateTimeField()
    last_error = models.TextField(blank=True)

    provider = models.CharField(max_length=32)
    gpu_type = models.CharField(max_length=64, blank=True)
    gpu_count = models.PositiveSmallIntegerField(default=1)
    allow_equivalent_gpus = models.BooleanField(
        default=True, help_text="below the price cap, where no machine has the wished GPU"
    )
    region = models.CharField(
        max_length=32, blank=True, help_text="regions or countries, the most wanted first, such as EU,US"
    )
    max_price = models.DecimalField(
        max_digits=10, decimal_places=4, null=True, blank=True, help_text="USD an hour"
    )
    image = models.CharField(max_length=1024, blank=True)
    ports = models.JSONField(default=list, blank=True, help_text="TCP ports that each machine opens")
    onstart = models.TextField(blank=True, help_text="shell lines that run at every start of a machine")
    env_names = models.JSONField(default=list, blank=True, help_text="variables that each machine gets")
    env_sealed = models.BinaryField(max_length=65_536, blank=True, default=bytes)
    env_sealed_by = models.CharField(max_length=16, blank=True, help_text="the fingerprint of the key")
    post_wake_hook = models.TextField(blank=True, help_text="a shell line that runs after a wake")
    disk_gb = models.PositiveIntegerField(default=10)
    min_cuda = models.FloatField(default=0.0, help_text="the least CUDA version that a driver must serve")
    min_reliability = models.FloatField(default=0.9, help_text="0 to 1, as the provider tells it")
    min_download_mbps = models.PositiveIntegerField(default=0, help_text="Mbit/s, as advertised")

    auto_hibernation_enabled = models.BooleanField(default=True)
    gpu_usage_threshold = models.FloatField(
        default=5.0, help_text="per cent; a GPU above it is busy, at or below it idle"
    )
    pause_after = models.DurationField(default=timedelta(minutes=3), help_text="idle this long: hibernate")
    hibernate_busy_at_the_end = models.BooleanField(
        default=True, help_text="also while it works, before its rental or the credit ends"
    )
    delete_after = models.DurationField(
        default=timedelta(minutes=30), help_text="hibernated this long: deleted"
    )

    warm_minutes = models.PositiveSmallIntegerField(
        default=0, help_text="a hibernated machine is kept so long, stopped; 0: it is ended at once"
    )

    precopy_enabled = models.BooleanField(
        default=True, help_text="begin saving at the first idle reading, at low priority"
    )
    snapshot_interval = models.DurationField(
        null=True, blank=True, help_text="save a working machine this often; empty: never"
    )
    transfer_limit_mbit = models.PositiveIntegerField(
        null=True, blank=True, help_text="Mbit/s to and from the store; empty: no limit"
    )
    encryption_enabled = models.BooleanField(default=True, help_text="of what the next snapshots store")
    default_ignore_rules = models.BooleanField(
        default=True, help_text="leave out caches that anyone can refill"
    )
    ignore_rules = models.TextField(
        blank=True, help_text="gitignore syntax, after the default rules; the last match counts"
    )
    leave_out_model_cache = models.BooleanField(
        default=False, help_text="leave out a model hub's cache and keep the list of what to fetch again"
    )
    keep_last = models.PositiveSmallIntegerField(default=3, help_text="snapshots kept, the newest ones")
    keep_daily = models.PositiveSmallIntegerField(
        default=7, help_text="days of which the last snapshot is kept"
    )

    gpu_utilization = models.FloatField(null=True, blank=True, help_text="per cent; empty means unknown")
    last_heartbeat_at = models.DateTimeField(null=True, blank=True)
    last_activity_at = models.DateTimeField(null=True, blank=True)
    heartbeat_interval = models.DurationField(default=timedelta(seconds=30))
    idle_since = models.DateTimeField(null=True, blank=True)
    hibernate_due_at = models.DateTimeField(null=True, blank=True)
    hold_until = models.DateTimeField(null=True, blank=True)
    kept_alive_until = models.DateTimeField(
        null=True, blank=True, help_text="somebody said that it is in use until then, idle or not"
    )
    awake_until = models.DateTimeField(
        null=True, blank=True, help_text="its schedule wants it awake until then, idle or not"
    )
    delete_due_at = models.DateTimeField(null=True, blank=True)
    snapshot_due_at = models.DateTimeField(null=True, blank=True)
    snapshot = models.ForeignKey(
        "hibernation.Snapshot", null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    state_generation = models.PositiveIntegerField(
        default=0, help_text="raised when a stored copy proved bad: the next snapshot reads every file again"
    )

    class Meta:
        db_table = "instance_status"
        indexes = [
            models.Index(
                fields=["hibernate_due_at"],
                name="instance_hibernate_due",
                condition=Q(hibernate_due_at__isnull=False),
            ),
            models.Index(
                fields=["delete_due_at"], name="instance_delete_due", condition=Q(delete_due_at__isnull=False)
            ),
            models.Index(
                fields=["snapshot_due_at"],
                name="instance_snapshot_due",
                condition=Q(snapshot_due_at__isnull=False),
            ),
            models.Index(fields=["status"], name="instance_by_status"),
        ]
        constraints = [
            models.CheckConstraint(
                name="instance_status_known", condition=Q(status__in=values(InstanceStatus))
            ),
            models.CheckConstraint(
                name="instance_threshold_is_per_cent",
                condition=Q(gpu_usage_threshold__gt=0, gpu_usage_threshold__lte=100),
            ),
            models.CheckConstraint(
                name="instance_pauses_after_a_while", condition=Q(pause_after__gt=timedelta(0))
            ),
            models.CheckConstraint(
                name="instance_is_warm_for_a_day_at_most", condition=Q(warm_minutes__lte=WARM_MINUTES_AT_MOST)
            ),
            models.CheckConstraint(
                name="instance_deletes_after_a_while", condition=Q(delete_after__gt=timedelta(0))
            ),
            models.CheckConstraint(
                name="instance_utilization_is_per_cent",
                condition=Q(gpu_utilization__isnull=True)
                | Q(gpu_utilization__gte=0, gpu_utilization__lte=100),
            ),
            models.CheckConstraint(
                name="instance_due_only_when_idle",
                condition=Q(hibernate_due_at__isnull=True)
                | Q(
                    status=InstanceStatus.IDLE, idle_since__isnull=False, hibernate_due_at__gt=F("idle_since")
                ),
            ),
            models.CheckConstraint(
                name="instance_hibernated_has_a_snapshot",
                condition=~Q(status__in=[InstanceStatus.HIBERNATED, InstanceStatus.DELETED])
                | Q(snapshot__isnull=False),
            ),
            models.CheckConstraint(name="instance_keeps_a_snapshot", condition=Q(keep_last__gte=1)),
            models.CheckConstraint(
                name="instance_saves_once_in_a_while",
                condition=Q(snapshot_interval__isnull=True) | Q(snapshot_interval__gte=timedelta(minutes=1)),
            ),
            models.CheckConstraint(
                name="instance_reliability_is_a_part",
                condition=Q(min_reliability__gte=0, min_reliability__lte=1),
            ),
            models.CheckConstraint(name="instance_cuda_is_a_version", condition=Q(min_cuda__gte=0)),
            models.CheckConstraint(
                name="instance_price_is_positive",
                condition=Q(max_price__isnull=True) | Q(max_price__gt=Decimal(0)),
            ),
        ]

    def __str__(self) -> str:
        return self.id

    @property
    def policy(self) -> Policy:
        return Policy(
            self.auto_hibernation_enabled, self.gpu_usage_threshold, self.pause_after, self.delete_after
        )

    @property
    def idle_state(self) -> IdleState:
        return IdleState(self.idle_since, self.last_heartbeat_at, self.heartbeat_interval)
