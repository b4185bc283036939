"""The admin shows everything and changes nothing; its orders go through the services."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from hibernation.models import Event, Host, Instance, Operation, Snapshot
from tests.factories import make_hibernated, make_instance, make_machine, make_pack, make_snapshot
from tests.hibernation.services.world import World

pytestmark = pytest.mark.django_db
INSTANCES = "/admin/hibernation/instance/"
SNAPSHOTS = "/admin/hibernation/snapshot/"
MODELS = [
    "instance",
    "machine",
    "host",
    "operation",
    "event",
    "schedule",
    "schedulerun",
    "snapshot",
    "usageinterval",
]


@pytest.fixture
def root(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.fixture
def guest_user() -> User:
    """Staff that may look at instances."""
    user = User.objects.create_user("guest", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_instance"))
    return user


@pytest.fixture
def guest(client: Client, guest_user: User) -> Client:
    client.force_login(guest_user)
    return client


def order(client: Client, action: str, instance_id: str) -> object:
    return client.post(INSTANCES, {"action": action, "_selected_action": [instance_id]}, follow=True)


def order_snapshots(client: Client, action: str, *rows: Snapshot, **more: str) -> Any:
    return client.post(
        SNAPSHOTS, {"action": action, "_selected_action": [row.pk for row in rows], **more}, follow=True
    )


@pytest.mark.parametrize("model", MODELS)
def test_every_list_can_be_looked_at_and_not_added_to(root: Client, world: World, model: str) -> None:
    world.asleep()
    assert root.get(f"/admin/hibernation/{model}/").status_code == 200
    assert root.get(f"/admin/hibernation/{model}/add/").status_code == 403


def test_a_host_can_be_forgotten_by_who_may(root: Client, guest_user: User) -> None:
    row = Host.objects.create(provider="fake", host="h1")
    path = f"/admin/hibernation/host/{row.pk}/delete/"
    guest = Client()
    guest.force_login(guest_user)
    assert guest.post(path, {"post": "yes"}).status_code == 403
    assert root.post(path, {"post": "yes"}).status_code == 302
    assert not Host.objects.exists()


def test_a_row_cannot_be_changed_or_deleted(root: Client) -> None:
    instance = make_instance()
    path = f"{INSTANCES}{instance.pk.replace('_', '_5F')}"
    assert root.get(f"{path}/change/").status_code == 200
    assert root.post(f"{path}/change/", {"status": "deleted"}).status_code == 403
    assert root.post(f"{path}/delete/", {"post": "yes"}).status_code == 403


def test_an_order_starts_the_operation_in_the_name_of_the_user(root: Client, world: World) -> None:
    instance = make_instance()
    make_machine(instance)
    order(root, "hibernate", instance.pk)
    operation = Operation.objects.get()
    assert (operation.kind, operation.forced, operation.actor) == ("hibernate", True, "user:root")
    asleep = make_hibernated()
    order(root, "wake", asleep.pk)
    assert asleep.operations.get().kind == "wake"


def test_a_snapshot_can_be_ordered(root: Client, world: World) -> None:
    instance = world.awake()
    order(root, "save_now", instance.pk)
    assert (instance.operations.get().kind, instance.operations.get().actor) == ("snapshot", "user:root")


def test_the_list_tells_what_is_stored_with_as_many_queries_for_many(
    root: Client,
) -> None:
    instance = make_instance()
    make_pack(instance, size=2_500_000)
    make_snapshot(instance)
    assert "2.4\xa0MB, 1 snapshots" in root.get(INSTANCES).content.decode()
    with CaptureQueriesContext(connection) as one:
        root.get(INSTANCES)
    for _ in range(5):
        make_pack(make_instance())
    with CaptureQueriesContext(connection) as many:
        root.get(INSTANCES)
    assert len(many) == len(one)


def test_snapshots_are_kept_let_go_and_deleted_once_that_is_confirmed(root: Client) -> None:
    instance = make_instance()
    old, last = make_snapshot(instance), make_snapshot(instance)
    Instance.objects.update(snapshot=last)
    order_snapshots(root, "keep", old)
    assert b"let it go first" in order_snapshots(root, "delete_snapshots", old, confirmed="yes").content
    order_snapshots(root, "let_go", old)
    asked = order_snapshots(root, "delete_snapshots", old, last)
    assert old.name.encode() in asked.content
    assert not Snapshot.objects.filter(state="deleted").exists()
    told = order_snapshots(root, "delete_snapshots", old, last, confirmed="yes")
    assert b"is the last good copy" in told.content
    assert [s.state for s in Snapshot.objects.order_by("pk")] == ["deleted", "verified"]
    assert set(Event.objects.values_list("actor", flat=True)) == {"user:root"}


@pytest.mark.parametrize("state", ["verified", "deleted"])
def test_a_snapshot_tells_why_it_is_kept(root: Client, state: str) -> None:
    instance = make_instance(keep_last=1, keep_daily=0)
    rows = [make_snapshot(instance, state=state), make_snapshot(instance)]
    texts = [root.get(f"{SNAPSHOTS}{row.pk}/change/").content.decode() for row in rows]
    assert ("about to be deleted: older than" in texts[0]) == (state == "verified")
    assert "kept: one of the newest 1" in texts[1]


def test_who_may_only_look_deletes_no_snapshot(guest: Client) -> None:
    user = User.objects.get()
    user.user_permissions.add(Permission.objects.get(codename="view_snapshot"))
    rows = [make_snapshot(make_instance()) for _ in range(2)]
    order_snapshots(guest, "delete_snapshots", *rows, confirmed="yes")
    assert not Snapshot.objects.filter(state="deleted").exists()


def test_an_order_that_conflicts_is_told(root: Client) -> None:
    instance = make_hibernated()
    reply = order(root, "hibernate", instance.pk)
    assert b"there is nothing to hibernate" in reply.content  # type: ignore[attr-defined]
    assert not Operation.objects.exists()


def test_who_may_only_look_gives_no_orders(guest: Client, world: World) -> None:
    instance = make_instance()
    make_machine(instance)
    assert guest.get(INSTANCES).status_code == 200
    order(guest, "hibernate", instance.pk)
    assert not Operation.objects.exists()


def test_strangers_see_nothing(client: Client) -> None:
    assert client.get(INSTANCES).status_code == 302
