"""Shapes of answers that are put together by hand: for their description alone, nothing is made from them."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiResponse, extend_schema_field
from rest_framework import serializers

from hibernation.domain.states import CreditLevel, InstanceStatus
from hibernation.domain.timetable.occurrences import Leg, Note


class AutoHibernationSerializer(serializers.Serializer[Any]):
    enabled = serializers.BooleanField()
    pause_after_minutes = serializers.FloatField()
    delete_after_minutes = serializers.FloatField()
    gpu_usage_threshold = serializers.FloatField(help_text="per cent")


@extend_schema_field({"type": ["integer", "string", "null"]})
class ContractNumberField(serializers.JSONField):
    """The provider's id of a rental: a number where it is one."""


class VastInfoSerializer(serializers.Serializer[Any]):
    """The machine as the provider knows it; ``instance_id`` is its contract."""

    instance_id = ContractNumberField()
    gpu_type = serializers.CharField()
    region = serializers.CharField()


class OccurrenceSerializer(serializers.Serializer[Any]):
    """``starts_at`` is before ``utc`` for a wake that has to be ready by then."""

    leg = serializers.ChoiceField([leg.value for leg in Leg])
    local = serializers.DateTimeField(help_text="with the offset of the schedule's zone")
    utc = serializers.DateTimeField()
    starts_at = serializers.DateTimeField()


class ScheduleInShortSerializer(serializers.Serializer[Any]):
    enabled = serializers.BooleanField()
    next = OccurrenceSerializer(allow_null=True)


class PreviewRowSerializer(OccurrenceSerializer):
    note = serializers.ChoiceField(
        [note.value for note in Note], help_text="what a change of clocks did to it"
    )
    exception = serializers.CharField(allow_blank=True, help_text="what cancels this wake")


class ForecastSerializer(serializers.Serializer[Any]):
    """To the end of the preview, against a machine that is never put to sleep. Null without a price."""

    hours_awake = serializers.FloatField()
    hours = serializers.FloatField()
    cost_usd = serializers.FloatField(allow_null=True)
    always_on_usd = serializers.FloatField(allow_null=True)


class PreviewSerializer(serializers.Serializer[Any]):
    enabled = serializers.BooleanField()
    timezone = serializers.CharField(required=False)
    days = serializers.IntegerField()
    occurrences = PreviewRowSerializer(many=True)
    forecast = ForecastSerializer(allow_null=True)


class NoScheduleSerializer(serializers.Serializer[Any]):
    enabled = serializers.BooleanField(help_text="false")


class StorageInUseSerializer(serializers.Serializer[Any]):
    bytes = serializers.IntegerField()
    objects = serializers.IntegerField()
    snapshots = serializers.IntegerField()


class AccountSerializer(serializers.Serializer[Any]):
    """One provider's. Null where it is unknown."""

    listed_seconds_ago = serializers.FloatField(allow_null=True)
    list_error = serializers.CharField(allow_blank=True)
    billing_now_usd_per_hour = serializers.FloatField()
    credit_usd = serializers.FloatField(allow_null=True)
    credit_hours_left = serializers.FloatField(allow_null=True)
    credit_level = serializers.ChoiceField([level.value for level in CreditLevel])


class StatsSerializer(serializers.Serializer[Any]):
    """How many instances are in which state; every key always present."""

    total_instances = serializers.IntegerField(help_text="without released ones")
    storage = StorageInUseSerializer()
    billing_now_usd_per_hour = serializers.FloatField()
    credit_usd = serializers.FloatField(allow_null=True)
    credit_hours_left = serializers.FloatField(allow_null=True)
    providers = serializers.DictField(child=AccountSerializer())

    def get_fields(self) -> dict[str, Any]:
        counts = {status.value: serializers.IntegerField() for status in InstanceStatus}
        return {**super().get_fields(), **counts}


class SavedSerializer(serializers.Serializer[Any]):
    """``instance_destroyed``: true only when the provider confirmed it."""

    success = serializers.BooleanField()
    snapshot_id = serializers.CharField()
    instance_destroyed = serializers.BooleanField()
    kept_warm_until = serializers.DateTimeField(required=False)


class SnapshotMadeSerializer(serializers.Serializer[Any]):
    success = serializers.BooleanField()
    snapshot_id = serializers.CharField()
    unreadable_files = serializers.IntegerField(required=False)


class WokenSerializer(serializers.Serializer[Any]):
    """``time_taken`` and ``stages`` in seconds; ``vast_instance_id``: the new machine's contract."""

    success = serializers.BooleanField()
    instance_id = serializers.CharField(required=False)
    vast_instance_id = ContractNumberField(required=False)
    ssh_host = serializers.CharField(required=False)
    ssh_port = serializers.IntegerField(required=False, allow_null=True)
    snapshot_restored = serializers.BooleanField(required=False)
    time_taken = serializers.FloatField()
    stages = serializers.DictField(child=serializers.FloatField(), required=False)


def ordered(done: type[serializers.Serializer[Any]], operation: type[Any]) -> dict[int, OpenApiResponse]:
    """The answers to an order: what it came to, for who waited, or the operation that goes on."""
    return {
        200: OpenApiResponse(done, description="You waited, and it is done."),
        202: OpenApiResponse(operation, description="It goes on; look there again."),
    }
