"""Fields of the API that take only what they say: no text for a number, no number for a truth value."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from hibernation.said import in_language

MAX_MINUTES = 60 * 24 * 365


def minutes(duration: timedelta) -> float | int:
    """Whole minutes as a whole number, as in the guide."""
    value = duration.total_seconds() / 60
    return int(value) if value.is_integer() else round(value, 3)


class SentenceField(serializers.CharField):
    """A sentence for people, told in their language. Only read."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(read_only=True, **kwargs)

    def to_representation(self, value: Any) -> str:
        return in_language(str(value))


class StrictFloatField(serializers.FloatField):
    """A finite number; neither a text nor a truth value passes for one."""

    def to_internal_value(self, data: Any) -> float:
        if isinstance(data, bool | str):
            self.fail("invalid")
        try:
            return super().to_internal_value(data)
        except OverflowError:
            self.fail("invalid")


class MinutesField(StrictFloatField):
    """A duration in minutes, at least one."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(min_value=1, max_value=MAX_MINUTES, **kwargs)

    def to_internal_value(self, data: Any) -> Any:
        try:
            return timedelta(minutes=super().to_internal_value(data))
        except OverflowError:
            self.fail("max_value", max_value=MAX_MINUTES)

    def to_representation(self, value: Any) -> Any:
        return minutes(value)

    def run_validators(self, value: Any) -> None:
        super().run_validators(value.total_seconds() / 60 if isinstance(value, timedelta) else value)


_PRICE = re.compile(r"\d{1,6}(\.\d{1,4})?", re.ASCII)


@extend_schema_field(
    {"oneOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": f"^{_PRICE.pattern}$"}]}
)
class PriceField(serializers.DecimalField):
    """USD an hour, as a number or a text."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_digits=10, decimal_places=4, min_value=0, help_text="USD an hour", **kwargs)

    def to_internal_value(self, data: Any) -> Decimal:
        if isinstance(data, str) and not _PRICE.fullmatch(data):
            self.fail("invalid")
        return super().to_internal_value(data)


class StrictBooleanField(serializers.BooleanField):
    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class WholeNumberField(serializers.IntegerField):
    """A whole number; neither a text, a truth value nor 3.0 passes for one."""

    def to_internal_value(self, data: Any) -> int:
        if type(data) is not int:
            self.fail("invalid")
        return super().to_internal_value(data)


class LinesField(serializers.ListField):
    """A text as the list of its lines."""

    child = serializers.CharField(allow_blank=True, trim_whitespace=False)

    def to_internal_value(self, data: Any) -> Any:
        lines = super().to_internal_value(data)
        if any(not isinstance(line, str) for line in data):
            raise serializers.ValidationError("Every line is a text.")
        if any(line.splitlines() not in ([], [line]) for line in lines):
            raise serializers.ValidationError("Every line is one line.")
        return "\n".join(lines)

    def to_representation(self, value: Any) -> Any:
        return value.splitlines()
