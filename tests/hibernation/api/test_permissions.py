"""What a browser's session may do over the API: no more than its user may in the console."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from hibernation.models import Operation
from tests.hibernation.services.world import World

pytestmark = pytest.mark.django_db


def session(*permissions: str) -> Client:
    user = User.objects.create_user("eva", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def test_who_may_only_look_gives_no_order(world: World) -> None:
    instance = world.awake()
    client = session("view_instance")
    assert client.get(f"/api/instances/{instance.pk}/status").status_code == 200
    refused = client.post(f"/api/instances/{instance.pk}/hibernate")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "permission_denied")
    hook = {"post_wake_hook": "id"}
    assert client.put(f"/api/instances/{instance.pk}/config", hook, "application/json").status_code == 403
    assert client.delete(f"/api/instances/{instance.pk}?leave_machine=true").status_code == 403
    assert not Operation.objects.exists()


def test_who_may_change_instances_orders(world: World) -> None:
    instance = world.awake()
    assert session("change_instance").post(f"/api/instances/{instance.pk}/hibernate").status_code == 202


def test_a_token_orders_for_whom_it_was_made(world: World, api: Client) -> None:
    instance = world.awake()
    assert api.post(f"/api/instances/{instance.pk}/hibernate").status_code == 202


def test_nobody_in_particular_does_nothing(world: World) -> None:
    instance = world.awake()
    assert Client().post(f"/api/instances/{instance.pk}/hibernate").status_code == 401
