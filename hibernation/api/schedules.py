"""Schedules: when an instance wakes and sleeps on its user's clock, a preview, and the calendar of all."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import time
from typing import Any

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from hibernation.api.callers import caller_of
from hibernation.api.fields import MinutesField, StrictBooleanField
from hibernation.api.filters import only_these
from hibernation.api.replies import actor_of
from hibernation.api.serializers import KnownFieldsSerializer
from hibernation.api.shapes import NoScheduleSerializer, PreviewSerializer
from hibernation.domain.access import Need
from hibernation.domain.timetable import Forecast, Terms, Weekday, WhenBusy
from hibernation.models import Schedule
from hibernation.said import in_language
from hibernation.services.access import team_named, team_of_instance, visible_schedules
from hibernation.services.schedules import delete_schedule, put_schedule
from hibernation.services.schedules.changing import ScheduleWish
from hibernation.services.schedules.plans import calendar_of, preview_of, shown_next

DAYS = tuple(day.name.lower() for day in Weekday)
NONE = {"enabled": False}
_DEFAULT = Terms()
_MOST_OFF = 1000
_LONGEST_PREVIEW = 366
_MOST_IN_CALENDAR = 200
DAYS_AHEAD = {"type": "integer", "minimum": 1, "maximum": _LONGEST_PREVIEW}
_CLOCK = re.compile(r"([01]\d|2[0-3]):[0-5]\d", re.ASCII)


@extend_schema_field({"type": "string", "pattern": f"^{_CLOCK.pattern}$"})
class LocalTimeField(serializers.TimeField):
    """``HH:MM``, and nothing else that could be taken for one."""

    default_error_messages = {"invalid": "A local time such as 09:00."}

    def to_internal_value(self, value: Any) -> time:
        if not (isinstance(value, str) and _CLOCK.fullmatch(value)):
            self.fail("invalid", format="HH:MM")
        return super().to_internal_value(value)


class RangeSerializer(KnownFieldsSerializer):
    """Local days, both ends included."""

    first = serializers.DateField()
    last = serializers.DateField()


class ExceptionsSerializer(KnownFieldsSerializer):
    """Days without a wake; a sleep is due all the same."""

    country = serializers.CharField(required=False, default="", allow_blank=True, max_length=2)
    subdivision = serializers.CharField(required=False, default="", allow_blank=True, max_length=64)
    dates = serializers.ListField(
        required=False, default=list, child=serializers.DateField(), max_length=_MOST_OFF
    )
    ranges = serializers.ListField(
        required=False, default=list, child=RangeSerializer(), max_length=_MOST_OFF
    )


class ScheduleSerializer(KnownFieldsSerializer):
    """The whole schedule: what PUT does not say is as by default."""

    enabled = StrictBooleanField(required=False, default=True)
    wake_time = LocalTimeField(required=False, default=None, allow_null=True)
    sleep_time = LocalTimeField(required=False, default=None, allow_null=True)
    timezone = serializers.CharField(
        required=False, default="", max_length=64, help_text="IANA; without it, the installation's"
    )
    days = serializers.ListField(
        required=False,
        default=list(DAYS),
        child=serializers.ChoiceField(DAYS),
        allow_empty=False,
        help_text="of the wake; where it does not wake, of the sleep",
    )
    exceptions = ExceptionsSerializer(required=False, default=dict)
    ready_by = StrictBooleanField(required=False, default=False, help_text="wake early, to be ready by then")
    force = StrictBooleanField(required=False, default=False, help_text="sleep also while it works")
    when_busy = serializers.ChoiceField(
        [choice.value for choice in WhenBusy], required=False, default=_DEFAULT.when_busy.value
    )
    wait_at_most_minutes = MinutesField(required=False, default=_DEFAULT.wait_at_most)
    give_up_after_minutes = MinutesField(required=False, default=_DEFAULT.give_up_after)
    stay_awake = StrictBooleanField(
        required=False, default=False, help_text="idleness ends nothing before the sleep"
    )


class ScheduleView(APIView):
    """One instance's schedule. Without one: ``{"enabled": false}``."""

    needs = {"GET": Need.READ, "PUT": Need.OPERATE, "DELETE": Need.OPERATE}
    wishes = {"PUT": ScheduleSerializer}

    @extend_schema(responses=ScheduleSerializer)
    def get(self, request: Request, instance_id: str) -> Response:
        row = _schedule(request, instance_id)
        return Response(NONE if row is None else _shown(row))

    @extend_schema(request=ScheduleSerializer, responses=ScheduleSerializer)
    def put(self, request: Request, instance_id: str) -> Response:
        """Set when it wakes and sleeps; this replaces the schedule that was there."""
        wish = ScheduleSerializer(data=request.data)
        wish.is_valid(raise_exception=True)
        return Response(
            _shown(put_schedule(instance_id, _wish(wish.validated_data), actor=actor_of(request)))
        )

    @extend_schema(responses={200: NoScheduleSerializer})
    def delete(self, request: Request, instance_id: str) -> Response:
        """Take it away. Repeatable."""
        delete_schedule(instance_id, actor=actor_of(request))
        return Response(NONE)


class PreviewView(APIView):
    """What the schedule does in the next days, on the user's clock and in UTC, and what it will cost."""

    needs = {"GET": Need.READ}

    @extend_schema(
        parameters=[OpenApiParameter("days", DAYS_AHEAD, description="14 if not said.")],
        responses=PreviewSerializer,
    )
    def get(self, request: Request, instance_id: str) -> Response:
        only_these(request, ("days",))
        days, row = _days(request), _schedule(request, instance_id)
        if row is None:
            return Response({**NONE, "days": days, "occurrences": [], "forecast": None})
        found = preview_of(row, days)
        return Response(
            {
                "enabled": row.enabled,
                "timezone": row.timezone,
                "days": days,
                "occurrences": [
                    {
                        "leg": one.leg,
                        "local": one.local_at.isoformat(),
                        "utc": one.due_at,
                        "starts_at": one.starts_at,
                        "note": in_language(one.note),
                        "exception": in_language(one.exception),
                    }
                    for one in found.rows
                ],
                "forecast": _forecast(found.forecast),
            }
        )


class CalendarView(APIView):
    """The plan of all your instances, of one team's or of one, for calendar programs: 60 days ahead, read anew whenever
    they ask.
    """

    needs = {"GET": Need.READ}

    @extend_schema(
        parameters=[
            OpenApiParameter("instance", OpenApiTypes.STR, description="Its id."),
            OpenApiParameter("team", OpenApiTypes.STR, description="The name of one of your teams."),
        ],
        responses={(200, "text/calendar"): OpenApiTypes.STR},
    )
    def get(self, request: Request) -> HttpResponse:
        only_these(request, ("instance", "team"))
        caller = caller_of(request)
        rows = visible_schedules(caller).select_related("instance").order_by("pk").filter(enabled=True)
        wanted = request.query_params.get("instance")
        if wanted is not None:
            team_of_instance(caller, wanted)
            rows = rows.filter(pk=wanted)
        team = request.query_params.get("team")
        if team is not None:
            rows = rows.filter(instance__team=team_named(caller, team))
        chosen = list(rows[: _MOST_IN_CALENDAR + 1])
        if len(chosen) > _MOST_IN_CALENDAR:
            reason = f"Say which: a calendar has {_MOST_IN_CALENDAR} instances at most, and there are more."
            raise ValidationError({"instance": reason})
        return HttpResponse(calendar_of(chosen), content_type="text/calendar; charset=utf-8")


def _schedule(request: Request, instance_id: str) -> Schedule | None:
    visible = visible_schedules(caller_of(request))
    return visible.select_related("instance").filter(pk=instance_id).first()


def _days(request: Request) -> int:
    text = request.query_params.get("days", "14")
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= _LONGEST_PREVIEW):
        raise ValidationError({"days": f"A whole number from 1 to {_LONGEST_PREVIEW}."})
    return int(text)


def _wish(valid: Mapping[str, Any]) -> ScheduleWish:
    exceptions = valid["exceptions"] or {}
    return ScheduleWish(
        wake_time=valid["wake_time"],
        sleep_time=valid["sleep_time"],
        timezone=valid["timezone"],
        days=tuple(DAYS.index(day) for day in valid["days"]),
        holiday_country=exceptions.get("country", ""),
        holiday_subdivision=exceptions.get("subdivision", ""),
        off_dates=tuple(exceptions.get("dates", ())),
        off_ranges=tuple((span["first"], span["last"]) for span in exceptions.get("ranges", ())),
        ready_by=valid["ready_by"],
        force=valid["force"],
        when_busy=valid["when_busy"],
        wait_at_most=valid["wait_at_most_minutes"],
        give_up_after=valid["give_up_after_minutes"],
        stay_awake=valid["stay_awake"],
        enabled=valid["enabled"],
    )


def _shown(row: Schedule) -> dict[str, Any]:
    return {
        "instance_id": row.pk,
        "enabled": row.enabled,
        "wake_time": _clock(row.wake_time),
        "sleep_time": _clock(row.sleep_time),
        "timezone": row.timezone,
        "days": [DAYS[day] for day in row.days],
        "exceptions": {
            "country": row.holiday_country,
            "subdivision": row.holiday_subdivision,
            "dates": row.off_dates,
            "ranges": [{"first": first, "last": last} for first, last in row.off_ranges],
        },
        "ready_by": row.ready_by,
        "force": row.force,
        "when_busy": row.when_busy,
        "wait_at_most_minutes": MinutesField().to_representation(row.wait_at_most),
        "give_up_after_minutes": MinutesField().to_representation(row.give_up_after),
        "stay_awake": row.stay_awake,
        "next": shown_next(row),
    }


def _clock(at: time | None) -> str | None:
    return None if at is None else at.strftime("%H:%M")


def _forecast(found: Forecast | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "hours_awake": found.hours_awake,
        "hours": found.hours,
        "cost_usd": found.cost,
        "always_on_usd": found.always_on,
    }
