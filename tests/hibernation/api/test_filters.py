"""Filters of every list: the names it knows, and a sentence with them for any other."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from hibernation.domain.states import EventType
from hibernation.models import Instance
from hibernation.services.clock import db_now
from hibernation.services.transitions import emit
from tests.factories import make_instance, make_snapshot

pytestmark = pytest.mark.django_db
LISTS = {
    "/api/instances": "status, provider, search, limit, cursor",
    "/api/operations": "instance, kind, state, limit, cursor",
    "/api/instances/{}/events": "event_type, limit, cursor",
    "/api/instances/{}/snapshots": "state, limit, cursor",
}


@pytest.fixture
def instance(db: None) -> Instance:
    return make_instance()


@pytest.mark.parametrize("path", LISTS)
def test_an_unknown_filter_is_refused_with_those_that_are_known(
    api: Client, instance: Instance, path: str
) -> None:
    reply = api.get(path.format(instance.pk), {"statuss": "running", "limit": "5"})
    assert reply.status_code == 400
    assert reply.json()["error"]["code"] == "invalid"
    assert reply.json()["error"]["fields"] == {"statuss": f"There is no such filter. Known: {LISTS[path]}."}


@pytest.mark.parametrize("path", LISTS)
def test_a_filter_that_is_empty_asks_for_nothing(api: Client, instance: Instance, path: str) -> None:
    name = LISTS[path].split(", ")[0]
    assert api.get(path.format(instance.pk), {name: ""}).json() == api.get(path.format(instance.pk)).json()


@pytest.mark.parametrize(
    ("path", "query", "says"),
    [
        ("/api/instances", {"status": "running,asleep"}, "There is no «asleep». Known: deleted, failed, "),
        ("/api/operations", {"kind": "sleep"}, "There is no «sleep». Known: adopt, hibernate, "),
        ("/api/instances/{}/events", {"event_type": "x,woke"}, "There is no «x». Known: activity_resumed, "),
        ("/api/instances/{}/snapshots", {"state": "lost"}, "There is no «lost». Known: deleted, failed, "),
    ],
)
def test_a_word_that_no_list_knows_is_named(
    api: Client, instance: Instance, path: str, query: dict[str, str], says: str
) -> None:
    reply = api.get(path.format(instance.pk), query)
    assert reply.status_code == 400
    (told,) = reply.json()["error"]["fields"].items()
    assert told[0] in query
    assert told[1].startswith(says)


def test_events_are_found_by_type(api: Client, instance: Instance) -> None:
    for kind in (EventType.WOKE, EventType.DELETED, EventType.FAILED):
        emit(kind, "because", instance=instance, now=db_now(), actor="system")
    path = f"/api/instances/{instance.pk}/events"
    assert types(api.get(path, {"event_type": "woke,failed"})) == ["failed", "woke"]
    assert types(api.get(path, {"event_type": "registered"})) == []


def types(reply: Any) -> list[str]:
    return [event["event_type"] for event in reply.json()["events"]]


def test_snapshots_are_found_by_state_and_deleted_ones_only_by_name(api: Client, instance: Instance) -> None:
    good = make_snapshot(instance)
    gone = make_snapshot(instance, state="deleted", deleted_at=db_now())
    path = f"/api/instances/{instance.pk}/snapshots"
    assert names(api.get(path)) == [good.name]
    assert names(api.get(path, {"state": "deleted"})) == [gone.name]
    assert names(api.get(path, {"state": "deleted,verified"})) == [gone.name, good.name]


def names(reply: Any) -> list[str]:
    return [snapshot["name"] for snapshot in reply.json()["snapshots"]]


def test_the_next_page_is_of_the_same_filter(api: Client) -> None:
    ids = [make_instance(id=f"vast_{number}", name="train").pk for number in (1, 2, 3)]
    make_instance(id="vast_0")
    seen, path = [], "/api/instances?search=train&status=running&limit=2"
    while path:
        reply = api.get(path).json()
        seen += [row["instance_id"] for row in reply["instances"]]
        path = reply["next"]
    assert seen == ids
