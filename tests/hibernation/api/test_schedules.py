"""Schedules over real HTTP requests: the guide's curl lines to the letter, and every wrong request its answer."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from icalendar import Calendar
from pytest_django import Settings

from hibernation.api import schedules
from hibernation.models import Instance, Membership, Schedule, ScheduleRun, Team
from hibernation.services.clock import db_now
from hibernation.services.schedules import clock, run_due_schedules
from tests.factories import idle_for, make_hibernated, make_instance, make_machine
from tests.hibernation.services.world import World

pytestmark = pytest.mark.django_db
GUIDE = {"wake_time": "09:00", "sleep_time": "18:00", "timezone": "America/Sao_Paulo"}
NOW = datetime(2026, 3, 2, 11, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _monday_at_eight_in_sao_paulo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "db_now", lambda: NOW)


@pytest.fixture
def instance() -> Instance:
    return make_instance(id="vast_12345")


def put(api: Client, body: Any, pk: str = "vast_12345") -> Any:
    raw = body if isinstance(body, str) else json.dumps(body)
    return api.put(f"/api/instances/{pk}/schedule", raw, content_type="application/json")


def fields(reply: Any) -> set[str]:
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "invalid")
    return set(reply.json()["error"]["fields"])


def test_the_guides_lines_set_and_remove_a_schedule(api: Client, instance: Instance) -> None:
    reply = put(api, GUIDE)
    assert reply.status_code == 200
    assert {name: reply.json()[name] for name in GUIDE} == GUIDE
    assert api.get("/api/instances/vast_12345/schedule").json() == reply.json()
    gone = api.delete("/api/instances/vast_12345/schedule")
    assert (gone.status_code, gone.json()) == (200, {"enabled": False})
    assert not Schedule.objects.exists()
    assert api.delete("/api/instances/vast_12345/schedule").status_code == 200


def test_without_one_it_is_not_enabled(api: Client, instance: Instance) -> None:
    assert api.get("/api/instances/vast_12345/schedule").json() == {"enabled": False}


def test_all_that_can_be_said_is_kept(api: Client, instance: Instance) -> None:
    body = {
        **GUIDE,
        "enabled": True,
        "days": ["mon", "fri"],
        "exceptions": {
            "country": "BR",
            "subdivision": "SP",
            "dates": ["2026-03-06"],
            "ranges": [{"first": "2026-12-24", "last": "2027-01-02"}],
        },
        "ready_by": False,
        "force": True,
        "when_busy": "skip",
        "wait_at_most_minutes": 45,
        "give_up_after_minutes": 30,
        "stay_awake": True,
    }
    told = put(api, body).json()
    assert told.pop("instance_id") == "vast_12345"
    assert told.pop("next") == {
        "leg": "wake",
        "local": "2026-03-02T09:00:00-03:00",
        "utc": "2026-03-02T12:00:00Z",
        "starts_at": "2026-03-02T12:00:00Z",
    }
    assert told == body
    assert put(api, body).json()["days"] == ["mon", "fri"]


def test_without_a_zone_the_installations_counts(api: Client, instance: Instance, settings: Settings) -> None:
    settings.TIME_ZONE = "Asia/Tokyo"
    assert put(api, {"wake_time": "09:00"}).json()["timezone"] == "Asia/Tokyo"


def test_what_is_not_said_again_is_as_by_default(api: Client, instance: Instance) -> None:
    put(api, {**GUIDE, "force": True, "days": ["sun"]})
    told = put(api, {"sleep_time": "18:00"}).json()
    assert (told["force"], len(told["days"]), told["wake_time"]) == (False, 7, None)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({**GUIDE, "timezone": "Mars/Olympus"}, "timezone"),
        ({**GUIDE, "timezone": 3}, "timezone"),
        ({**GUIDE, "timezone": "../../etc/passwd"}, "timezone"),
        ({**GUIDE, "wake_time": "25:00"}, "wake_time"),
        ({**GUIDE, "wake_time": "9"}, "wake_time"),
        ({**GUIDE, "wake_time": "09:00:30"}, "wake_time"),
        ({**GUIDE, "wake_time": 900}, "wake_time"),
        ({**GUIDE, "sleep_time": "24:00"}, "sleep_time"),
        ({"timezone": "UTC"}, "wake_time"),
        ({**GUIDE, "days": []}, "days"),
        ({**GUIDE, "days": ["monday"]}, "days.0"),
        ({**GUIDE, "days": "mon"}, "days"),
        ({**GUIDE, "when_busy": "panic"}, "when_busy"),
        ({**GUIDE, "force": "yes"}, "force"),
        ({**GUIDE, "wait_at_most_minutes": 0}, "wait_at_most_minutes"),
        ({**GUIDE, "give_up_after_minutes": "long"}, "give_up_after_minutes"),
        ({"wake_time": "09:00", "stay_awake": True}, "stay_awake"),
        ({**GUIDE, "exceptions": {"country": "XX"}}, "exceptions"),
        ({**GUIDE, "exceptions": {"dates": ["soon"]}}, "exceptions.dates.0"),
        ({**GUIDE, "exceptions": {"ranges": [{"first": "2026-02-02", "last": "2026-02-01"}]}}, "exceptions"),
        ({**GUIDE, "wake": "09:00"}, "wake"),
        ({**GUIDE, "wake_time": "0900Z"}, "wake_time"),
        ({**GUIDE, "wake_time": "09+01"}, "wake_time"),
        ({**GUIDE, "sleep_time": "T0900"}, "sleep_time"),
        ({**GUIDE, "exceptions": {"contry": "DE"}}, "exceptions.contry"),
        (
            {**GUIDE, "exceptions": {"ranges": [{"first": "2026-02-01", "last": "2026-02-02", "end": "x"}]}},
            "exceptions.ranges.0.end",
        ),
    ],
)
def test_a_wrong_field_is_named(api: Client, instance: Instance, body: Any, named: str) -> None:
    assert fields(put(api, body)) == {named}
    assert not Schedule.objects.exists()


@pytest.mark.parametrize("body", ["[]", "3", "not json"])
def test_what_is_no_schedule_at_all_is_refused(api: Client, instance: Instance, body: str) -> None:
    assert put(api, body).status_code == 400


PATHS = [
    ("get", "/api/instances/x/schedule"),
    ("put", "/api/instances/x/schedule"),
    ("delete", "/api/instances/x/schedule"),
    ("get", "/api/instances/x/schedule/preview"),
    ("get", "/api/schedules.ics?instance=x"),
    ("get", "/api/schedules.ics?instance=%00"),
]


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_an_unknown_instance_is_not_found(api: Client, method: str, path: str) -> None:
    reply = getattr(api, method)(path, content_type="application/json")
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_nobody_gets_in_without_a_token(db: None, method: str, path: str) -> None:
    assert getattr(Client(), method)(path).status_code == 401


def preview(api: Client, query: str = "") -> Any:
    return api.get(f"/api/instances/vast_12345/schedule/preview{query}").json()


def test_the_preview_tells_times_and_money(api: Client, instance: Instance) -> None:
    make_machine(instance, price_per_hour=Decimal("0.5"))
    put(api, GUIDE)
    told = preview(api, "?days=2")
    assert told["occurrences"][:2] == [
        {
            "leg": "wake",
            "local": "2026-03-02T09:00:00-03:00",
            "utc": "2026-03-02T12:00:00Z",
            "starts_at": "2026-03-02T12:00:00Z",
            "note": "",
            "exception": "",
        },
        {
            "leg": "sleep",
            "local": "2026-03-02T18:00:00-03:00",
            "utc": "2026-03-02T21:00:00Z",
            "starts_at": "2026-03-02T21:00:00Z",
            "note": "",
            "exception": "",
        },
    ]
    assert len(told["occurrences"]) == 4
    assert told["forecast"] == {
        "hours_awake": 18.0,
        "hours": 48.0,
        "cost_usd": 9.0,
        "always_on_usd": 24.0,
    }


def test_the_preview_tells_what_a_change_of_clocks_does(api: Client, instance: Instance) -> None:
    put(api, {"wake_time": "02:30", "timezone": "Europe/Berlin"})
    moved = [one for one in preview(api, "?days=40")["occurrences"] if one["note"]]
    assert [(one["local"], one["note"]) for one in moved] == [
        ("2026-03-29T03:30:00+02:00", "skipped by DST, moved")
    ]


def test_the_preview_names_the_holiday(api: Client, instance: Instance) -> None:
    put(api, {**GUIDE, "exceptions": {"country": "BR"}})
    named = [one for one in preview(api, "?days=61")["occurrences"] if one["exception"]]
    assert [one["local"][:10] for one in named] == ["2026-04-03", "2026-04-21", "2026-05-01"]


def test_the_preview_of_none_is_empty(api: Client, instance: Instance) -> None:
    assert preview(api) == {"enabled": False, "days": 14, "occurrences": [], "forecast": None}


@pytest.mark.parametrize("days", ["0", "367", "-1", "x", "1.5", "99999999999"])
def test_a_preview_is_of_a_year_at_most(api: Client, instance: Instance, days: str) -> None:
    assert fields(api.get(f"/api/instances/vast_12345/schedule/preview?days={days}")) == {"days"}


def test_the_calendar_has_every_instance_or_one(api: Client, instance: Instance) -> None:
    other = make_instance(id="vast_2", name="training")
    put(api, GUIDE)
    put(api, {**GUIDE, "wake_time": "07:00"}, other.pk)
    reply = api.get("/api/schedules.ics")
    assert (reply.status_code, reply.headers["Content-Type"]) == (200, "text/calendar; charset=utf-8")
    names = {str(event["summary"]) for event in Calendar.from_ical(reply.content).walk("VEVENT")}
    assert names == {"vast_12345 awake", "training awake"}
    one = Calendar.from_ical(api.get("/api/schedules.ics?instance=vast_2").content)
    assert {event["dtstart"].dt.hour for event in one.walk("VEVENT")} == {10}


def test_a_schedule_that_is_switched_off_is_in_no_calendar(api: Client, instance: Instance) -> None:
    put(api, {**GUIDE, "enabled": False})
    assert b"VEVENT" not in api.get("/api/schedules.ics").content


def test_the_status_tells_what_comes_next(api: Client, instance: Instance) -> None:
    put(api, GUIDE)
    told = api.get("/api/instances/vast_12345/status").json()
    assert told["schedule"]["enabled"] is True
    assert told["schedule"]["next"]["utc"] == "2026-03-02T12:00:00Z"
    assert told["explanation"].endswith("; wakes on schedule on Mon 02 Mar at 09:00 America/Sao_Paulo")


def test_the_status_of_one_without_a_schedule_has_none(api: Client, instance: Instance) -> None:
    told = api.get("/api/instances/vast_12345/status").json()
    assert told["schedule"] is None
    assert "schedule" not in told["explanation"]


def test_the_status_says_that_the_schedule_keeps_it_awake(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "db_now", db_now)
    kept = make_instance(id="vast_9", **idle_for(4))
    put(api, {"wake_time": "00:00", "sleep_time": "00:00", "timezone": "UTC", "stay_awake": True}, kept.pk)
    told = api.get("/api/instances/vast_9/status").json()["explanation"]
    assert "its schedule keeps it awake; sleeps on schedule on" in told


def test_the_list_asks_as_much_for_many_as_for_few(api: Client, instance: Instance) -> None:
    put(api, GUIDE)
    with CaptureQueriesContext(connection) as few:
        api.get("/api/instances")
    for _ in range(4):
        put(api, GUIDE, make_instance().pk)
    with CaptureQueriesContext(connection) as many:
        api.get("/api/instances")
    assert len(many) == len(few)


@pytest.fixture
def root(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("root"))
    return client


def test_a_calendar_can_be_of_one_team(api: Client, instance: Instance) -> None:
    other = Team.objects.create(name="night")
    Membership.objects.create(team=other, user=User.objects.get(), role="owner")
    Team.objects.create(name="theirs")
    for one in (instance, make_instance(id="vast_2", team=other)):
        put(api, GUIDE, one.pk)
    found = api.get("/api/schedules.ics?team=night").content
    assert (b"vast_2 awake" in found, b"vast_12345 awake" in found) == (True, False)
    for team in ("theirs", "nobody"):
        reply = api.get(f"/api/schedules.ics?team={team}")
        assert (reply.status_code, fields(reply)) == (400, {"team"})


def test_names_that_make_no_sense_in_a_query_are_refused(api: Client, instance: Instance) -> None:
    for path in ("/api/schedules.ics?teams=x", f"/api/instances/{instance.pk}/schedule/preview?day=3"):
        assert api.get(path).status_code == 400


def test_a_subdivision_needs_its_country(api: Client, instance: Instance) -> None:
    reply = put(api, {**GUIDE, "exceptions": {"subdivision": "SP"}})
    assert (reply.status_code, fields(reply)) == (400, {"exceptions"})
    kept = put(api, {**GUIDE, "exceptions": {"country": "BR", "subdivision": "São Paulo Capital"}})
    assert kept.status_code == 200


def test_what_is_dropped_with_its_schedule_is_told(
    api: Client, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = world.awake(gpu_utilization=90.0)
    put(api, GUIDE, busy.pk)
    monkeypatch.setattr(clock, "db_now", lambda: NOW + timedelta(hours=10))
    run_due_schedules()
    api.delete(f"/api/instances/{busy.pk}/schedule")
    told = busy.events.get(event_type="schedule_skipped")
    assert told.reason.endswith("18:00 America/Sao_Paulo: its schedule was deleted")


def test_the_admin_shows_the_next_days_and_changes_nothing(
    api: Client, root: Client, instance: Instance
) -> None:
    make_machine(instance)
    put(api, {**GUIDE, "exceptions": {"dates": ["2026-03-04"]}})
    path = f"/admin/hibernation/schedule/{instance.pk.replace('_', '_5F')}/change/"
    page = root.get(path).content.decode()
    assert "Mon 2026-03-02 09:00 -03 = 12:00 UTC wake" in page
    assert "Wed 2026-03-04 09:00 -03 = 12:00 UTC wake day off" in page
    assert "instead of $100.80" in page
    assert root.post(path, {"enabled": ""}).status_code == 403


def test_the_admins_lists_ask_as_much_for_many_as_for_few(
    api: Client, root: Client, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for count in (1, 5):
        for _ in range(count):
            put(api, GUIDE, make_hibernated().pk)
    monkeypatch.setattr(clock, "db_now", lambda: NOW + timedelta(hours=1))
    asked = []
    for _ in range(2):
        run_due_schedules()
        with CaptureQueriesContext(connection) as found:
            assert root.get("/admin/hibernation/schedule/").status_code == 200
            assert root.get("/admin/hibernation/schedulerun/").status_code == 200
        asked.append(len(found))
        ScheduleRun.objects.filter(pk__gt=1).delete()
        Schedule.objects.exclude(pk=Schedule.objects.latest("pk").pk).delete()
    assert asked[0] == asked[1]


def test_entries_of_beat_are_seen_in_the_admin_and_not_changed(
    api: Client, root: Client, instance: Instance
) -> None:
    put(api, GUIDE)
    task = PeriodicTask.objects.get(name="schedule of vast_12345: wake")
    path = f"/admin/django_celery_beat/periodictask/{task.pk}"
    assert b"schedule of vast_12345: wake" in root.get("/admin/django_celery_beat/periodictask/").content
    assert root.get(f"{path}/change/").status_code == 200
    assert root.post(f"{path}/change/", {"enabled": ""}).status_code == 403
    assert root.post(f"{path}/delete/", {"post": "yes"}).status_code == 403


def test_a_zone_that_is_no_more_breaks_neither_lists_nor_the_calendar(
    api: Client, root: Client, instance: Instance
) -> None:
    put(api, GUIDE)
    put(api, GUIDE, make_instance(id="vast_2").pk)
    Schedule.objects.filter(pk=instance.pk).update(timezone="Mars/Olympus")
    assert api.get("/api/instances").status_code == 200
    assert api.get("/api/instances/vast_12345/schedule").json()["next"] is None
    assert root.get("/admin/hibernation/schedule/").status_code == 200
    assert b"vast_2 awake" in api.get("/api/schedules.ics").content


def test_a_calendar_of_very_many_is_refused_and_of_one_is_not(
    api: Client, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedules, "_MOST_IN_CALENDAR", 1)
    put(api, GUIDE)
    assert api.get("/api/schedules.ics").status_code == 200
    put(api, GUIDE, make_instance().pk)
    assert fields(api.get("/api/schedules.ics")) == {"instance"}
    assert api.get("/api/schedules.ics?instance=vast_12345").status_code == 200


def test_whoever_may_look_at_entries_of_beat_can_neither_switch_nor_run_them(
    client: Client, instance: Instance
) -> None:
    looker = User.objects.create_user("looker", is_staff=True)
    looker.user_permissions.set(Permission.objects.filter(codename="view_periodictask"))
    client.force_login(looker)
    clock_row = IntervalSchedule.objects.create(every=10, period="seconds")
    tick = PeriodicTask.objects.create(name="tick", task="hibernation.run_schedules", interval=clock_row)
    path = "/admin/django_celery_beat/periodictask/"
    assert b'name="action"' not in client.get(path).content
    client.post(path, {"action": "disable_tasks", "_selected_action": [tick.pk]})
    tick.refresh_from_db()
    assert tick.enabled is True
