"""What people send to have a machine adopted, an instance created, changed or let go, and to find one in the list."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema_field, extend_schema_serializer
from rest_framework import serializers
from rest_framework.exceptions import ValidationError

from hibernation.api.fields import PriceField, StrictBooleanField, WholeNumberField
from hibernation.api.serializers import ConfigSerializer, KnownFieldsSerializer, PlaceField, StatusSerializer
from hibernation.providers.registry import provider_names

LEAVE_MACHINE = OpenApiParameter(
    "leave_machine",
    OpenApiTypes.BOOL,
    description="true: its machine goes on, billed, and nobody looks after it.",
)
DELETE_SNAPSHOTS = OpenApiParameter(
    "delete_snapshots",
    OpenApiTypes.BOOL,
    description="true: delete every copy of the workspace, the last one too.",
)


@extend_schema_field({"oneOf": [{"type": "integer"}, {"type": "string"}]})
class ContractField(serializers.Field[Any, Any, Any, Any]):
    """The provider's id of a rental, as a number or a text."""

    default_error_messages = {"invalid": "The provider's id of the rental, such as 12345."}

    def to_internal_value(self, data: Any) -> str:
        text = str(data) if isinstance(data, int | str) and not isinstance(data, bool) else ""
        if not (text.isascii() and text.isalnum() and len(text) <= 64):
            self.fail("invalid")
        return text

    def to_representation(self, value: Any) -> Any:
        return value


@extend_schema_field({"type": "boolean", "const": True})
class ConsentField(StrictBooleanField):
    """The words that people must have read before a rental of theirs comes into our care."""

    def run_validation(self, data: Any = serializers.empty) -> Any:
        if data is not True:
            raise ValidationError(
                "A hibernation destroys the rental after it has saved and proven /workspace, and nothing but that. "
                "Send true if that is meant."
            )
        return data


class TeamField(serializers.CharField):
    """Whose it will be: one of the caller's teams, by name."""

    def __init__(self) -> None:
        help_text = "whose it will be; without it, your first team in which you are an owner"
        super().__init__(required=False, max_length=64, help_text=help_text)


def first_provider() -> str:
    return provider_names()[0]


class AdoptSerializer(KnownFieldsSerializer):
    """An existing rental, named by ``contract_id`` (with ``provider``) or by ``instance_id`` like ``vast_12345``."""

    provider = serializers.CharField(required=False, max_length=32)
    contract_id = ContractField(required=False)
    instance_id = serializers.RegexField("^.+_[A-Za-z0-9]+$", required=False, max_length=64)
    name = serializers.CharField(required=False, allow_blank=True, max_length=100)
    team = TeamField()
    may_be_destroyed = ConsentField(help_text="true: hibernating may end this rental")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        super().validate(attrs)
        if ("contract_id" in attrs) == ("instance_id" in attrs):
            raise ValidationError({"contract_id": "Either this or instance_id."})
        if "instance_id" in attrs:
            provider, _, attrs["contract_id"] = attrs.pop("instance_id").rpartition("_")
            if attrs.setdefault("provider", provider) != provider:
                raise ValidationError({"provider": "The instance_id names another one."})
        attrs.setdefault("provider", first_provider())
        return attrs


class CreateSerializer(KnownFieldsSerializer):
    """A fresh instance: what its machines are to be, as far as it matters."""

    provider = serializers.CharField(default=first_provider, max_length=32)
    gpu_type = serializers.CharField(max_length=64)
    gpu_count = WholeNumberField(required=False, min_value=1, max_value=64)
    image = serializers.CharField(max_length=200)
    region = PlaceField(required=False, max_length=32)
    max_price = PriceField(required=False)
    disk_gb = WholeNumberField(required=False, min_value=1, max_value=1_000_000)
    name = serializers.CharField(required=False, allow_blank=True, max_length=100)
    team = TeamField()


class ChangeSerializer(ConfigSerializer):
    """Its name and its rules; only what is sent changes."""

    name = serializers.CharField(required=False, allow_blank=True, max_length=100)


@extend_schema_serializer(many=False)
class InstancesSerializer(serializers.Serializer[Any]):
    """A page of instances by id, and the address of the next."""

    instances = StatusSerializer(many=True)
    next = serializers.CharField(allow_null=True)
