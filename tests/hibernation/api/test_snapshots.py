"""The API of snapshots: what is shown, what an order does, and what is refused with which word."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from hibernation.models import Event, Instance, Operation, Snapshot
from hibernation.services.clock import db_now
from tests.factories import make_hibernated, make_instance, make_operation, make_pack, make_snapshot
from tests.hibernation.services.world import World

pytestmark = pytest.mark.django_db


def path(instance: Instance, snapshot: Snapshot | None = None, more: str = "") -> str:
    name = "" if snapshot is None else f"/{snapshot.name}"
    return f"/api/instances/{instance.pk}/snapshots{name}{more}"


def patch(api: Client, where: str, body: Any) -> Any:
    return api.patch(where, json.dumps(body), content_type="application/json")


def code(reply: Any) -> tuple[int, str]:
    return reply.status_code, reply.json()["error"]["code"]


@pytest.fixture
def instance(db: None) -> Instance:
    """Running, with three proven snapshots, a day apart; the rules keep one."""
    instance = make_instance(keep_last=1, keep_daily=0)
    now = db_now()
    for days in (2, 1, 0):
        instance.snapshot = make_snapshot(instance, created_at=now - timedelta(days=days))
    instance.save()
    return instance


def snapshots(instance: Instance) -> list[Snapshot]:
    return list(instance.snapshots.order_by("pk"))


@pytest.mark.parametrize("method", ["get", "post", "patch", "delete"])
def test_nobody_gets_in_without_a_token(client: Client, instance: Instance, method: str) -> None:
    assert getattr(client, method)(path(instance)).status_code == 401
    assert getattr(client, method)(path(instance, instance.snapshot)).status_code == 401


@pytest.mark.parametrize(
    ("method", "more"),
    [("get", ""), ("post", ""), ("get", "/x"), ("delete", "/x"), ("get", "/x%00"), ("get", "/..")],
)
def test_what_does_not_exist_is_not_found(api: Client, method: str, more: str) -> None:
    assert code(getattr(api, method)(f"/api/instances/nobody/snapshots{more}")) == (404, "not_found")


def test_a_snapshot_of_another_instance_is_not_found(api: Client, instance: Instance) -> None:
    other = make_instance()
    for reply in (
        api.get(path(other, instance.snapshot)),
        api.delete(path(other, instance.snapshot)),
        patch(api, path(other, instance.snapshot), {"kept": True}),
    ):
        assert code(reply) == (404, "not_found")


def test_the_list_is_newest_first_and_says_why_each_is_kept(api: Client, instance: Instance) -> None:
    Snapshot.objects.filter(pk=snapshots(instance)[0].pk).update(state="deleted")
    shown = api.get(path(instance)).json()
    assert shown["next"] is None
    assert [row["name"] for row in shown["snapshots"]] == [s.name for s in snapshots(instance)[:0:-1]]
    assert [row["is_current"] for row in shown["snapshots"]] == [True, False]
    assert [row["retention"] for row in shown["snapshots"]] == [
        {"keep": True, "reason": "the last good copy"},
        {"keep": False, "reason": "older than the newest 1 and than the last of 0 days"},
    ]


def test_the_list_comes_in_pages(api: Client, instance: Instance) -> None:
    seen, where = [], path(instance, more="?limit=2")
    while where:
        page = api.get(where).json()
        seen += [row["name"] for row in page["snapshots"]]
        where = page["next"]
    assert seen == [s.name for s in reversed(snapshots(instance))]
    assert api.get(path(instance, more="?limit=0")).status_code == 400


def test_the_list_costs_the_same_for_many(
    api: Client, instance: Instance, django_assert_max_num_queries: Any
) -> None:
    for _ in range(10):
        make_snapshot(instance).packs.add(make_pack(instance))
    with django_assert_max_num_queries(10):
        api.get(path(instance))


def test_one_snapshot_is_shown_with_what_the_machine_reported(api: Client, instance: Instance) -> None:
    report = {"left_out_bytes": 5, "left_out": [{"path": "x", "bytes": 5}]}
    made = make_snapshot(instance, report=report, files=3, bytes_logical=10, bytes_stored_new=4)
    shown = api.get(path(instance, made)).json()
    figures = ("files", "bytes_logical", "bytes_stored_new", "left_out_bytes")
    assert [shown[name] for name in figures] == [3, 10, 4, 5]
    assert shown["report"] == report


def test_a_snapshot_is_kept_on_request_and_let_go_again(api: Client, instance: Instance) -> None:
    first = snapshots(instance)[0]
    shown = patch(api, path(instance, first), {"kept": True}).json()
    assert (shown["kept"], shown["retention"]["reason"]) == (True, "somebody asked to keep it")
    assert code(api.delete(path(instance, first))) == (409, "snapshot_kept")
    assert patch(api, path(instance, first), {"kept": False}).json()["kept"] is False
    assert [e.actor for e in Event.objects.all()] == ["user:ana"] * 2


@pytest.mark.parametrize("body", [{}, {"kept": None}, {"kept": 1}, {"kept": True, "state": "x"}, []])
def test_a_wish_that_makes_no_sense_changes_nothing(api: Client, instance: Instance, body: Any) -> None:
    assert patch(api, path(instance, instance.snapshot), body).status_code == 400
    assert not Event.objects.exists()


def test_a_deleted_snapshot_still_tells_that_it_was(api: Client, instance: Instance) -> None:
    first = snapshots(instance)[0]
    for _ in range(2):
        shown = api.delete(path(instance, first)).json()
        assert (shown["state"], shown["retention"]) == ("deleted", None)
    assert api.get(path(instance, first)).json()["deleted_at"] is not None
    assert code(patch(api, path(instance, first), {"kept": True})) == (409, "conflict")


def test_the_last_good_copy_goes_only_when_that_is_meant(api: Client, instance: Instance) -> None:
    last = instance.snapshot
    assert code(api.delete(path(instance, last))) == (409, "last_good_copy")
    assert code(api.delete(path(instance, last, "?last_copy=false"))) == (409, "last_good_copy")
    assert code(api.delete(path(instance, last, "?last_copy=yes"))) == (400, "invalid")
    assert api.delete(path(instance, last, "?last_copy=true")).status_code == 200
    instance.refresh_from_db()
    assert instance.snapshot == snapshots(instance)[1]


def test_a_hibernated_workspace_is_not_deleted(api: Client) -> None:
    instance = make_hibernated()
    reply = api.delete(path(instance, instance.snapshot, "?last_copy=true"))
    assert code(reply) == (409, "last_good_copy")


def test_what_an_operation_needs_is_not_deleted(api: Client, instance: Instance) -> None:
    first = snapshots(instance)[0]
    make_operation(instance, snapshot=first)
    assert code(api.delete(path(instance, first))) == (409, "snapshot_in_use")


def test_a_snapshot_can_be_ordered(api: Client, world: World) -> None:
    instance = world.awake()
    reply = api.post(path(instance), headers={"Idempotency-Key": "k"})
    operation = Operation.objects.get()
    assert (reply.status_code, reply.headers["Location"]) == (202, f"/api/operations/{operation.pk}")
    assert (operation.kind, operation.actor, operation.idempotency_key) == ("snapshot", "user:ana", "k")


def test_a_snapshot_of_nothing_is_refused(api: Client) -> None:
    instance = make_hibernated()
    assert code(api.post(path(instance))) == (409, "conflict")


def test_status_and_list_tell_what_an_instance_occupies(api: Client, instance: Instance) -> None:
    make_pack(instance, size=7)
    expected = {"bytes": 7, "objects": 1, "snapshots": 3}
    assert api.get(f"/api/instances/{instance.pk}/status").json()["storage"] == expected
    assert api.get("/api/instances").json()["instances"][0]["storage"] == expected
