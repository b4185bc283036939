"""The admin shows everything and changes nothing; its orders go through the services."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from hibernation.models import Operation
from tests.factories import make_hibernated, make_instance, make_machine
from tests.hibernation.services.world import World

pytestmark = pytest.mark.django_db
INSTANCES = "/admin/hibernation/instance/"
MODELS = ["instance", "machine", "operation", "event", "snapshot", "usageinterval"]


@pytest.fixture
def root(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.fixture
def guest(client: Client) -> Client:
    """Staff that may look at instances."""
    user = User.objects.create_user("guest", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_instance"))
    client.force_login(user)
    return client


def order(client: Client, action: str, instance_id: str) -> object:
    return client.post(INSTANCES, {"action": action, "_selected_action": [instance_id]}, follow=True)


@pytest.mark.parametrize("model", MODELS)
def test_every_list_can_be_looked_at_and_not_added_to(root: Client, world: World, model: str) -> None:
    world.asleep()
    assert root.get(f"/admin/hibernation/{model}/").status_code == 200
    assert root.get(f"/admin/hibernation/{model}/add/").status_code == 403


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
