"""How often the database is asked: as often for thirty rows as for three, and not often."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from hibernation.domain.access import Role
from hibernation.domain.states import EventType
from hibernation.models import Instance, Membership, Team
from hibernation.services.clock import db_now
from hibernation.services.tokens import create_api_token
from hibernation.services.transitions import emit
from tests.factories import (
    idle_for,
    make_hibernated,
    make_instance,
    make_machine,
    make_operation,
    make_pack,
    make_schedule,
    make_snapshot,
    make_user,
)
from tests.hibernation.api.test_agents import body, send
from tests.hibernation.services.world import World

pytestmark = pytest.mark.django_db
FEW, MANY = 3, 30


def queries(work: Callable[[], Any]) -> int:
    with CaptureQueriesContext(
        connection,
    ) as asked:
        reply = work()
    assert reply.status_code == 200, reply.content
    return len(asked)


@pytest.fixture
def used(api: Client) -> Client:
    """With a token that was used already: its first use in a while is written down."""
    api.get("/api/me")
    return api


def add_instances(count: int) -> None:
    """Of every kind that costs another look: awake, at work, scheduled, asleep."""
    for _ in range(count):
        awake = make_instance(**idle_for(1))
        make_machine(awake)
        make_schedule(awake)
        make_pack(awake)
        operation = make_operation(awake)
        operation.steps.create(step="quiesce", entered_at=db_now(), finished_at=db_now())
        make_hibernated()


def add_operations(count: int) -> None:
    for _ in range(count):
        operation = make_operation(make_instance())
        operation.steps.create(step="quiesce", entered_at=db_now(), finished_at=db_now())


def add_events(count: int) -> None:
    operation = the_instance().operations.first() or make_operation(the_instance())
    for _ in range(count):
        emit(EventType.IDLE_DETECTED, "x", instance=operation.instance, operation=operation, now=db_now())


def add_snapshots(count: int) -> None:
    for _ in range(count):
        make_snapshot(the_instance())


def add_tokens(count: int) -> None:
    for number in range(count):
        create_api_token(User.objects.get(username="ana"), f"token {number}", team=the_team())


def add_members(count: int) -> None:
    for _ in range(count):
        make_user(f"user{User.objects.count()}", Role.VIEWER, the_team())


def add_teams(count: int) -> None:
    for _ in range(count):
        team = Team.objects.create(name=f"team {Team.objects.count()}")
        Membership.objects.create(team=team, user=User.objects.get(username="ana"), role=Role.MEMBER)


def the_team() -> Team:
    """ana's first."""
    return Membership.objects.filter(user__username="ana").order_by("pk")[0].team


def the_instance() -> Instance:
    return Instance.objects.filter(pk="vast_0").first() or make_instance(id="vast_0")


LISTS: dict[str, tuple[Callable[[int], None], int]] = {
    "/api/instances?limit=100": (add_instances, 8),
    "/api/operations?limit=100": (add_operations, 4),
    "/api/instances/vast_0/events?limit=100": (add_events, 8),
    "/api/instances/vast_0/snapshots?limit=100": (add_snapshots, 10),
    "/api/schedules.ics": (add_instances, 4),
    "/api/tokens?limit=100": (add_tokens, 4),
    "/api/teams/{team}/members": (add_members, 5),
    "/api/me": (add_teams, 4),
    "/api/hibernation/stats": (add_instances, 12),
}


@pytest.mark.parametrize("path", LISTS)
def test_a_list_asks_as_often_for_many_rows_as_for_few(used: Client, path: str) -> None:
    add, most = LISTS[path]
    path = path.format(team=the_team().pk)
    add(FEW)
    few = queries(lambda: used.get(path))
    add(MANY - FEW)
    assert queries(lambda: used.get(path)) == few
    assert few <= most


@pytest.mark.parametrize("page", [FEW, MANY])
def test_a_page_costs_no_more_in_a_browser(used: Client, page: int) -> None:
    add_instances(page)
    asked = queries(lambda: used.get("/api/instances", headers={"Accept": "text/html"}))
    assert asked <= 9


@pytest.mark.parametrize("others", [FEW, MANY])
def test_a_heartbeat_asks_as_often_however_many_machines_there_are(world: World, others: int) -> None:
    instance = world.awake()
    add_instances(others)
    assert queries(lambda: send(world, instance, body(instance, seq=1))) <= 16
    again = body(instance, seq=2, gpu_count=8, gpu_utilizations=[1.0] * 8)
    assert queries(lambda: send(world, instance, again)) <= 12
