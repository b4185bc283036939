"""Orders from an instance's page: what will happen is said first, and only a POST does it."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client

from hibernation.models import Event, Instance, Operation
from tests.factories import make_hibernated, make_instance, make_machine, make_operation
from tests.hibernation.admin.pages import order_of, settings_of, text_of
from tests.hibernation.services.world import World

pytestmark = pytest.mark.django_db


def cancel_of(operation: Operation) -> str:
    return f"/admin/hibernation/instance/operation/{operation.pk}/cancel/"


def test_a_hibernation_says_what_it_ends_and_does_nothing_yet(root: Client, world: World) -> None:
    instance = world.awake(gpu_utilization=88.0)
    told = text_of(root.get(order_of(instance, "hibernate")))
    assert "is destroyed, and its $0.300/h end" in told
    assert "GPU 88 % now" in told
    assert not Operation.objects.exists()


def test_a_hibernation_that_is_confirmed_begins(root: Client, world: World) -> None:
    instance = world.awake()
    told = text_of(root.post(order_of(instance, "hibernate"), follow=True))
    assert "running" in told
    operation = instance.operations.get()
    assert (operation.kind, operation.forced, operation.actor) == ("hibernate", True, "user:root")


def test_a_second_click_is_answered_by_the_first_ones_operation(root: Client, world: World) -> None:
    instance = world.awake()
    for _ in range(2):
        root.post(order_of(instance, "save"), {"key": "page-number-one"})
    assert instance.operations.get().kind == "snapshot"
    assert instance.operations.get().idempotency_key == "page-number-one"


def test_a_wake_takes_its_wishes_to_the_service(root: Client, world: World) -> None:
    instance = make_hibernated()
    assert "$0.500/h at most" in text_of(root.get(order_of(make_hibernated(max_price="0.5"), "wake")))
    root.post(order_of(instance, "wake"), {"gpu_type": "RTX 3090", "region": "EU", "max_price": "0.4"})
    assert instance.operations.get().params == {
        "gpu_type": "RTX 3090",
        "region": "EU",
        "max_price": "0.4000",
    }


@pytest.mark.parametrize(
    ("wish", "told"),
    [({"max_price": "cheap"}, "A valid number is required"), ({"region": "Narnia"}, "is neither a region")],
)
def test_a_wish_that_makes_no_sense_is_told_and_buys_nothing(
    root: Client, world: World, wish: dict[str, str], told: str
) -> None:
    instance = make_hibernated()
    reply = root.post(order_of(instance, "wake"), wish)
    assert (reply.status_code, told in text_of(reply)) == (200, True)
    assert not Operation.objects.exists()


def test_an_order_that_conflicts_is_told(root: Client) -> None:
    told = text_of(root.post(order_of(make_hibernated(), "hibernate"), follow=True))
    assert "there is nothing to hibernate" in told


def test_an_operation_is_cancelled_once_that_is_confirmed(root: Client, world: World) -> None:
    operation = world.hibernate(world.awake())
    assert "goes on billing at $0.300/h" in text_of(root.get(cancel_of(operation)))
    operation.refresh_from_db()
    assert operation.cancel_reason == ""
    root.post(cancel_of(operation))
    operation.refresh_from_db()
    assert operation.cancel_reason == "cancelled"
    assert Event.objects.latest("id").actor == "user:root"


def test_what_has_ended_cannot_be_cancelled(root: Client, world: World) -> None:
    operation = world.run(world.hibernate(world.awake()))
    assert "has ended" in text_of(root.post(cancel_of(operation), follow=True))


@pytest.mark.parametrize("verb", ["hibernate", "wake", "save"])
def test_who_may_only_look_gets_no_order_page(guest: Client, world: World, verb: str) -> None:
    instance = world.awake()
    assert guest.get(order_of(instance, verb)).status_code == 403
    assert guest.post(order_of(instance, verb)).status_code == 403
    assert not Operation.objects.exists()


def test_who_may_only_look_cancels_and_sets_nothing(guest: Client) -> None:
    instance = make_instance()
    operation = make_operation(instance)
    assert guest.post(cancel_of(operation)).status_code == 403
    assert guest.post(settings_of(instance), {"name": "x"}).status_code == 403


def test_an_order_needs_the_pages_own_token(world: World) -> None:
    instance = world.awake()
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("root"))
    assert client.post(order_of(instance, "hibernate")).status_code == 403
    assert not Operation.objects.exists()


def test_there_is_no_other_order_and_no_other_instance(root: Client) -> None:
    instance = make_instance()
    assert root.get(order_of(instance, "destroy")).status_code == 404
    assert root.get(order_of(Instance(pk="nobody"), "wake")).status_code == 404
    assert root.get(cancel_of(Operation(pk=99999))).status_code == 404


@pytest.mark.parametrize("kind", ["wake", "hibernate"])
def test_cancelling_says_what_it_leaves(root: Client, kind: str) -> None:
    instance = make_instance()
    queued = make_operation(instance, kind=kind, state="queued", machine=make_machine(instance))
    assert "it ends at once" in text_of(root.get(cancel_of(queued)))
    Operation.objects.update(state="running")
    told = text_of(root.get(cancel_of(queued)))
    assert ("is destroyed or left" if kind == "wake" else "goes on billing") in told
