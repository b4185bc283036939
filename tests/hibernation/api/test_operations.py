"""Operations over the API: found by instance, kind and state, called off, and who asks."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from hibernation.models import ApiToken
from hibernation.services.clock import db_now
from tests.factories import make_instance, make_operation, make_snapshot
from tests.hibernation.services.world import World

pytestmark = pytest.mark.django_db
LIST = "/api/operations"


def ids(reply: Any) -> list[int]:
    return [row["id"] for row in reply.json()["operations"]]


def ended(**more: Any) -> dict[str, Any]:
    return {"state": "succeeded", "finished_at": db_now() + timedelta(seconds=1)} | more


def test_operations_are_listed_newest_first(api: Client) -> None:
    first, second = make_operation(make_instance()), make_operation(make_instance())
    assert ids(api.get(LIST)) == [second.pk, first.pk]


def test_operations_are_found_by_instance_kind_and_state(api: Client) -> None:
    one, other = make_instance(), make_instance()
    old = make_operation(one, kind="wake", **ended())
    runs = make_operation(one)
    elsewhere = make_operation(other, kind="snapshot")
    assert ids(api.get(LIST, {"instance": one.pk})) == [runs.pk, old.pk]
    assert ids(api.get(LIST, {"kind": "wake,snapshot"})) == [elsewhere.pk, old.pk]
    assert ids(api.get(LIST, {"state": "running"})) == [elsewhere.pk, runs.pk]
    assert ids(api.get(LIST, {"instance": one.pk, "state": "failed"})) == []


def test_the_cursor_leads_to_older_operations_and_ends(api: Client) -> None:
    instance = make_instance()
    rows = [make_operation(instance, **ended()).pk for _ in range(5)]
    seen, path = [], f"{LIST}?limit=2&instance={instance.pk}"
    while path:
        reply = api.get(path)
        seen += ids(reply)
        path = reply.json()["next"]
    assert seen == rows[::-1]


@pytest.mark.parametrize(
    "query",
    [{"kind": "sleep"}, {"state": "running,odd"}, {"limit": "0"}, {"instance": "a\0b"}, {"kinds": "wake"}],
    ids=ascii,
)
def test_a_question_that_makes_no_sense_is_refused(api: Client, query: dict[str, str]) -> None:
    reply = api.get(LIST, query)
    assert reply.status_code == 400
    assert set(reply.json()["error"]["fields"]) == set(query)


def test_operations_of_an_unknown_instance_are_not_found(api: Client) -> None:
    assert api.get(LIST, {"instance": "vast_none"}).status_code == 404


def test_one_that_runs_is_called_off_and_can_be_looked_at(api: Client) -> None:
    operation = make_operation(make_instance())
    reply = api.post(f"{LIST}/{operation.pk}/cancel")
    assert (reply.status_code, reply.json()["cancel_reason"]) == (202, "cancelled")
    assert reply.headers["Location"] == f"{LIST}/{operation.pk}"
    assert operation.instance.events.get().actor == "user:ana"


def test_one_that_waits_is_answered_as_it_ended(api: Client) -> None:
    operation = make_operation(make_instance(), state="queued", started_at=None)
    reply = api.post(f"{LIST}/{operation.pk}/cancel")
    assert (reply.status_code, reply.json()["state"]) == (200, "cancelled")


def test_calling_off_too_late_conflicts_and_says_why(api: Client) -> None:
    instance = make_instance(status="hibernating")
    gone = make_operation(instance, snapshot=make_snapshot(instance), point_of_no_return_at=db_now())
    done = make_operation(make_instance(), **ended())
    for operation, why in ((gone, "point of no return"), (done, "has ended: it succeeded")):
        reply = api.post(f"{LIST}/{operation.pk}/cancel")
        assert (reply.status_code, reply.json()["error"]["code"]) == (409, "conflict")
        assert why in reply.json()["error"]["message"]


def test_calling_off_nothing_is_not_found_and_nobody_may(api: Client) -> None:
    assert api.post(f"{LIST}/999999999999999999/cancel").status_code == 404
    assert Client().post(f"{LIST}/1/cancel").status_code == 401


def test_an_order_tells_where_and_when_to_look_again(api: Client, world: World) -> None:
    asleep = world.asleep()
    for path in (f"{world.awake().pk}/hibernate", f"{world.awake().pk}/snapshots", f"{asleep.pk}/wake"):
        reply = api.post(f"/api/instances/{path}", content_type="application/json")
        assert reply.status_code == 202
        assert reply.headers["Location"] == f"{LIST}/{reply.json()['id']}"
        assert reply.headers["Retry-After"] == "2"


def test_who_asks_is_told_with_the_token_and_nobody_is_not(api: Client) -> None:
    reply = api.get("/api/me").json()
    assert (reply["user"], reply["token"]["name"]) == ("ana", ApiToken.objects.get().name)
    assert not {"token", "digest"} & set(reply["token"])
    assert Client().get("/api/me").status_code == 401


def test_events_that_nothing_was_added_to_are_not_sent_again(api: Client) -> None:
    instance = make_instance()
    path = f"/api/instances/{instance.pk}/events"
    assert api.get(path).headers["ETag"] == '"none"'
    api.post(f"{LIST}/{make_operation(instance).pk}/cancel")
    first = api.get(path)
    again = api.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert api.get(path, headers={"If-None-Match": '"none"'}).status_code == 200
