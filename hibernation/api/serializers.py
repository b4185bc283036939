"""Shapes of the API, the guide's to the letter. Times are ISO 8601 UTC, durations minutes, utilisation per cent."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db.models import Prefetch, QuerySet
from django.db.models.functions import Now
from drf_spectacular.utils import extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from hibernation.api.fields import (
    LinesField,
    MinutesField,
    PriceField,
    SentenceField,
    StrictBooleanField,
    StrictFloatField,
    WholeNumberField,
    minutes,
)
from hibernation.api.shapes import AutoHibernationSerializer, ScheduleInShortSerializer, VastInfoSerializer
from hibernation.domain import idle
from hibernation.domain.errors import InvalidRequest
from hibernation.domain.ignore import check_rules
from hibernation.domain.regions import check_wish
from hibernation.domain.states import OperationState
from hibernation.models import Event, Instance, Machine, Operation
from hibernation.models.instance import WARM_MINUTES_AT_MOST
from hibernation.said import in_language
from hibernation.services.clock import db_now
from hibernation.services.keep_alive import LONGEST
from hibernation.services.orders import (
    LONGEST_HOOK,
    LONGEST_ONSTART,
    LONGEST_VALUE,
    MOST_PORTS,
    check_environment,
    check_ports,
)
from hibernation.services.schedules.plans import next_of, schedule_of, shown_next
from hibernation.services.storage import Storage, storage_of
from hibernation.services.visits import Visit, visits_of


class KnownFieldsSerializer(serializers.Serializer[Instance]):
    """Refuses what it does not know: a misspelt wish would otherwise be a wish not made."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """Here, and not in ``validate``: one that stands inside another is only told its own part."""
        attrs: dict[str, Any] = super().to_internal_value(data)
        unknown = sorted(set(data) - set(self.fields))
        if unknown:
            raise serializers.ValidationError(dict.fromkeys(unknown, "There is no such setting."))
        return attrs


class ConfigSerializer(KnownFieldsSerializer):
    """An instance's rules. PUT changes only the fields sent."""

    image = serializers.CharField(required=False, allow_blank=True, max_length=1024)
    disk_gb = WholeNumberField(required=False, min_value=1, max_value=100_000)
    ports = serializers.ListField(
        required=False,
        child=WholeNumberField(min_value=1, max_value=65_535),
        max_length=MOST_PORTS,
        help_text="TCP ports that each machine opens",
    )
    env = serializers.DictField(
        required=False,
        write_only=True,
        child=serializers.CharField(allow_blank=True, trim_whitespace=False, max_length=LONGEST_VALUE),
        help_text="all variables that machines get; kept sealed, and never shown",
    )
    env_names = serializers.ListField(read_only=True, child=serializers.CharField())
    onstart = LinesField(required=False, help_text="shell lines, run at every start of a machine")
    post_wake_hook = serializers.CharField(
        required=False,
        allow_blank=True,
        max_length=LONGEST_HOOK,
        help_text="a shell line, run after each wake",
    )
    allow_equivalent_gpus = StrictBooleanField(required=False)
    min_cuda = StrictFloatField(required=False, min_value=0, max_value=100)
    min_reliability = StrictFloatField(required=False, min_value=0, max_value=1)
    min_download_mbps = WholeNumberField(required=False, min_value=0, max_value=1_000_000)
    auto_hibernation_enabled = StrictBooleanField(required=False)
    gpu_usage_threshold = StrictFloatField(required=False, min_value=0.01, max_value=100)
    hibernate_busy_at_the_end = StrictBooleanField(required=False)
    pause_after_minutes = MinutesField(required=False, source="pause_after")
    delete_after_minutes = MinutesField(required=False, source="delete_after")
    keep_warm_minutes = WholeNumberField(
        required=False,
        min_value=0,
        max_value=WARM_MINUTES_AT_MOST,
        source="warm_minutes",
        help_text="a hibernated machine is kept so long, stopped; its disk bills; 0: it is ended at once",
    )
    precopy_enabled = StrictBooleanField(required=False)
    snapshot_interval_minutes = MinutesField(required=False, allow_null=True, source="snapshot_interval")
    transfer_limit_mbit = WholeNumberField(
        required=False, allow_null=True, min_value=1, max_value=1_000_000, help_text="Mbit/s; null: no limit"
    )
    encryption_enabled = StrictBooleanField(required=False)
    default_ignore_rules = StrictBooleanField(required=False)
    ignore_rules = LinesField(required=False, help_text="gitignore syntax, a rule a line")
    leave_out_model_cache = StrictBooleanField(required=False)
    keep_last = WholeNumberField(required=False, min_value=1, max_value=1000)
    keep_daily = WholeNumberField(required=False, min_value=0, max_value=1000)

    def validate_ignore_rules(self, text: str) -> str:
        try:
            check_rules(text)
        except InvalidRequest as error:
            raise serializers.ValidationError(error.message) from None
        return text

    def validate_onstart(self, text: str) -> str:
        if len(text) > LONGEST_ONSTART:
            raise serializers.ValidationError(f"At most {LONGEST_ONSTART} characters.")
        return text

    def validate_env(self, env: dict[str, str]) -> dict[str, str]:
        try:
            check_environment(env)
        except InvalidRequest as error:
            raise serializers.ValidationError(error.message) from None
        return env

    def validate_ports(self, ports: list[int]) -> list[int]:
        try:
            check_ports(ports)
        except InvalidRequest as error:
            raise serializers.ValidationError(error.message) from None
        return ports


class PlaceField(serializers.CharField):
    """A region, a country, or several with commas, the most wanted first."""

    def to_internal_value(self, data: Any) -> str:
        wish = super().to_internal_value(data)
        try:
            check_wish(wish)
        except InvalidRequest as error:
            raise serializers.ValidationError(error.message) from None
        return wish


class WakeSerializer(KnownFieldsSerializer):
    """What to wake on; what is not given is as the instance is set."""

    gpu_type = serializers.CharField(required=False, max_length=64)
    region = PlaceField(required=False, max_length=32)
    max_price = PriceField(required=False)


class KeepAliveSerializer(KnownFieldsSerializer):
    """For how long."""

    minutes = WholeNumberField(min_value=1, max_value=LONGEST // timedelta(minutes=1))


class MachineSerializer(serializers.ModelSerializer[Machine]):
    phase_reason = SentenceField()

    class Meta:
        model = Machine
        fields = (
            "contract_id",
            "state",
            "gpu_type",
            "gpu_count",
            "region",
            "price_per_hour",
            "price_now",
            "phase",
            "phase_reason",
            "phase_since",
            "listed_at",
            "ends_at",
            "ssh_host",
            "ssh_port",
            "ssh_user",
            "host_key",
            "parked_until",
            "stopped_usd_hour",
            "gpus",
            "driver",
            "cuda",
            "launched_at",
        )


class StepSerializer(serializers.Serializer[Visit]):
    step = serializers.CharField()
    entered_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)
    seconds = serializers.SerializerMethodField()
    waits = serializers.IntegerField()
    failures = serializers.IntegerField()

    def get_seconds(self, visit: Visit) -> float | None:
        if visit.finished_at is None:
            return None
        return round((visit.finished_at - visit.entered_at).total_seconds(), 3)


class OperationSerializer(serializers.ModelSerializer[Operation]):
    instance_id = serializers.CharField()
    reason = SentenceField()
    waiting_for = SentenceField()
    error = SentenceField()
    steps = serializers.SerializerMethodField()

    class Meta:
        model = Operation
        fields = (
            "id",
            "instance_id",
            "kind",
            "state",
            "step",
            "actor",
            "reason",
            "forced",
            "progress",
            "waiting_for",
            "waits",
            "failures",
            "cancel_reason",
            "point_of_no_return_at",
            "created_at",
            "started_at",
            "finished_at",
            "result",
            "error_code",
            "error",
            "steps",
        )

    @extend_schema_field(StepSerializer(many=True))
    def get_steps(self, operation: Operation) -> list[dict[str, Any]]:
        return [dict(StepSerializer(visit).data) for visit in visits_of(operation)]


class EventSerializer(serializers.ModelSerializer[Event]):
    snapshot_id = serializers.CharField(source="snapshot_name")
    reason = SentenceField()
    operation_id = serializers.IntegerField(allow_null=True)

    class Meta:
        model = Event
        fields = (
            "id",
            "event_type",
            "timestamp",
            "gpu_utilization",
            "snapshot_id",
            "reason",
            "actor",
            "status_from",
            "status_to",
            "operation_id",
            "data",
        )


@extend_schema_serializer(many=False)
class EventsSerializer(serializers.Serializer[Any]):
    """A page of events, newest first, and the address of the next."""

    events = EventSerializer(many=True)
    next = serializers.CharField(allow_null=True)


class StorageSerializer(serializers.Serializer[Storage]):
    """What is in the store: ``bytes`` in ``objects``, for ``snapshots`` that can be restored."""

    bytes = serializers.IntegerField()
    objects = serializers.IntegerField()
    snapshots = serializers.IntegerField()


class StatusSerializer(serializers.Serializer[Instance]):
    """The guide's status, with freshness, the operation in flight, the machine and why it is (not) idle."""

    instance_id = serializers.CharField(source="pk")
    name = serializers.CharField()
    team = serializers.CharField(source="team.name")
    status = serializers.CharField()
    gpu_utilization = serializers.FloatField(allow_null=True)
    last_activity = serializers.DateTimeField(source="last_activity_at", allow_null=True)
    idle_since = serializers.DateTimeField(allow_null=True)
    hibernate_due_at = serializers.DateTimeField(allow_null=True)
    kept_alive_until = serializers.DateTimeField(allow_null=True)
    auto_hibernation = serializers.SerializerMethodField()
    vast_info = serializers.SerializerMethodField()
    freshness = serializers.SerializerMethodField()
    operation = serializers.SerializerMethodField()
    machine = serializers.SerializerMethodField()
    snapshot_id = serializers.CharField(source="snapshot.name", default=None, allow_null=True)
    storage = serializers.SerializerMethodField()
    schedule = serializers.SerializerMethodField()
    explanation = serializers.SerializerMethodField()

    @extend_schema_field(AutoHibernationSerializer)
    def get_auto_hibernation(self, instance: Instance) -> dict[str, Any]:
        return {
            "enabled": instance.auto_hibernation_enabled,
            "pause_after_minutes": minutes(instance.pause_after),
            "delete_after_minutes": minutes(instance.delete_after),
            "gpu_usage_threshold": instance.gpu_usage_threshold,
        }

    @extend_schema_field(VastInfoSerializer)
    def get_vast_info(self, instance: Instance) -> dict[str, Any]:
        machine = current_machine(instance)
        return {
            "instance_id": contract_number(machine),
            "gpu_type": machine.gpu_type if machine else instance.gpu_type,
            "region": machine.region if machine else instance.region,
        }

    @extend_schema_field(serializers.ChoiceField(["fresh", "stale", "lost"]))
    def get_freshness(self, instance: Instance) -> str:
        return freshness(instance)

    @extend_schema_field(OperationSerializer(allow_null=True))
    def get_operation(self, instance: Instance) -> dict[str, Any] | None:
        operation = running_of(instance)
        return dict(OperationSerializer(operation).data) if operation else None

    @extend_schema_field(MachineSerializer(allow_null=True))
    def get_machine(self, instance: Instance) -> dict[str, Any] | None:
        machine = current_machine(instance)
        return dict(MachineSerializer(machine).data) if machine else None

    @extend_schema_field(StorageSerializer)
    def get_storage(self, instance: Instance) -> dict[str, int]:
        return dict(StorageSerializer(storage_of(instance)).data)

    @extend_schema_field(ScheduleInShortSerializer(allow_null=True))
    def get_schedule(self, instance: Instance) -> dict[str, Any] | None:
        row = schedule_of(instance)
        return None if row is None else {"enabled": row.enabled, "next": shown_next(row)}

    def get_explanation(self, instance: Instance) -> str:
        return in_language(explanation(instance))


def current_machine(instance: Instance) -> Machine | None:
    """The one that holds or gets the workspace, or the last one that is being ended."""
    found: list[Machine] | None = getattr(instance, "current_machines", None)
    if found is None:
        found = list(_current_machines(instance.machines.all())[:1])
    return found[0] if found else None


def running_of(instance: Instance) -> Operation | None:
    found: list[Operation] | None = getattr(instance, "running_operations", None)
    if found is None:
        found = list(instance.operations.filter(state=OperationState.RUNNING))
    return found[0] if found else None


def with_what_goes_on(instances: QuerySet[Instance]) -> QuerySet[Instance]:
    """Each with what its status is told from, the time (``seen_at``) included, in a few queries for all."""
    running = Operation.objects.filter(state=OperationState.RUNNING).prefetch_related("steps")
    return (
        instances.annotate(seen_at=Now())
        .select_related("snapshot", "schedule", "team")
        .prefetch_related(
            Prefetch("machines", _current_machines(Machine.objects.all()), "current_machines"),
            Prefetch("operations", running, "running_operations"),
        )
    )


def _current_machines(machines: QuerySet[Machine]) -> QuerySet[Machine]:
    states = ["launched", "spare", "active", "adopting", "parked", "destroying"]
    return machines.filter(state__in=states).order_by("-id")


def contract_number(machine: Machine | None) -> int | str | None:
    """The provider's id as a number where it is one, as in the guide."""
    if machine is None or machine.contract_id is None:
        return None
    return int(machine.contract_id) if machine.contract_id.isdigit() else machine.contract_id


def freshness(instance: Instance) -> str:
    """fresh, stale (silent for more than the allowed gap) or lost (ten times that, or never heard)."""
    last = instance.last_heartbeat_at
    if last is None:
        return "lost"
    silent, gap = _seen_at(instance) - last, idle.longest_gap(instance.idle_state)
    return "fresh" if silent <= gap else "stale" if silent <= gap * 10 else "lost"


def _seen_at(instance: Instance) -> datetime:
    found: datetime | None = getattr(instance, "seen_at", None)
    return found or db_now()


def explanation(instance: Instance) -> str:
    """One sentence: why it is (not) about to be hibernated, and what its schedule does next."""
    row = schedule_of(instance)
    following = None if row is None else next_of(row)
    if row is None or following is None:
        return _why(instance)
    return f"{_why(instance)}; {following.in_words(row.timezone)}"


def _why(instance: Instance) -> str:
    if instance.last_error and instance.status in (
        "failed",
        "running",
        "hibernating",
        "hibernated",
        "deleted",
    ):
        return instance.last_error
    if _is_kept_alive(instance):
        return f"idle since {instance.idle_since:%H:%M:%S} UTC; kept alive until {instance.kept_alive_until:%H:%M} UTC"
    if _is_kept_awake(instance):
        return f"idle since {instance.idle_since:%H:%M:%S} UTC; its schedule keeps it awake"
    if instance.status == "idle" and instance.hibernate_due_at is not None:
        left = max(0.0, (instance.hibernate_due_at - _seen_at(instance)).total_seconds())
        return (
            f"idle since {instance.idle_since:%H:%M:%S} UTC; hibernates in {left:.0f} s unless it works again"
        )
    if instance.status == "idle" and not instance.auto_hibernation_enabled:
        return "idle, but automatic hibernation is off"
    if instance.status == "idle" and running_of(instance) is not None:
        return "idle; a snapshot is being made, and a hibernation that falls due waits for it"
    if instance.status == "running":
        used = instance.gpu_utilization
        return "GPU use unknown: counted as active" if used is None else f"GPU use {used:.1f} %"
    return instance.status


def _is_kept_alive(instance: Instance) -> bool:
    due = instance.hibernate_due_at
    return instance.status == "idle" and due is not None and due == instance.kept_alive_until


def _is_kept_awake(instance: Instance) -> bool:
    due = instance.hibernate_due_at
    return instance.status == "idle" and due is not None and due == instance.awake_until
