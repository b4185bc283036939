"""The lists show everything and change nothing; their actions are orders that are asked for twice."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from hibernation.models import (
    Event,
    Host,
    Instance,
    Operation,
    ProviderAccount,
    Snapshot,
    Team,
    UsageInterval,
)
from hibernation.services.clock import db_now
from hibernation.services.credentials import store_key
from hibernation.services.tokens import create_api_token
from tests.factories import (
    idle_for,
    make_hibernated,
    make_instance,
    make_machine,
    make_operation,
    make_pack,
    make_run,
    make_schedule,
    make_snapshot,
)
from tests.hibernation.admin.pages import listed, page_of, text_of
from tests.hibernation.services.world import World

pytestmark = pytest.mark.django_db
INSTANCES, SNAPSHOTS = listed("instance"), listed("snapshot")
MODELS = [
    "apitoken",
    "event",
    "host",
    "instance",
    "machine",
    "operation",
    "provideraccount",
    "schedule",
    "schedulerun",
    "snapshot",
    "team",
    "usageinterval",
]


def order(client: Client, action: str, instance_id: str, **more: str) -> Any:
    return client.post(INSTANCES, {"action": action, "_selected_action": [instance_id], **more}, follow=True)


def order_snapshots(client: Client, action: str, *rows: Snapshot, **more: str) -> Any:
    return client.post(
        SNAPSHOTS, {"action": action, "_selected_action": [row.pk for row in rows], **more}, follow=True
    )


@pytest.mark.parametrize("model", MODELS)
def test_every_list_can_be_looked_at_and_not_added_to(guest: Client, world: World, model: str) -> None:
    world.asleep()
    assert guest.get(listed(model)).status_code == 200
    assert guest.get(f"{listed(model)}add/").status_code == 403


def fill(user: User, number: int) -> None:
    """One of everything that a list has."""
    instance = make_instance(**idle_for(1))
    machine = make_machine(instance)
    make_pack(instance)
    snapshot = make_snapshot(instance)
    Instance.objects.filter(pk=instance.pk).update(snapshot=snapshot)
    operation = make_operation(instance, machine=machine, progress={"bytes_done": 1, "bytes_total": 2})
    Event.objects.create(
        instance=instance, operation=operation, event_type="woke", timestamp=db_now(), reason="r"
    )
    UsageInterval.objects.create(instance=instance, machine=machine, price_per_hour=1, started_at=db_now())
    make_schedule(instance)
    make_run(instance)
    team = Team.objects.create(name=f"team {number}")
    team.memberships.create(user=user)
    create_api_token(user, f"token {number}", team=team)
    instance.team = team
    instance.save()
    Host.objects.create(provider="fake", host=f"h{number}")
    ProviderAccount.objects.create(provider=f"p{number}")


def queries(client: Client, model: str) -> int:
    with CaptureQueriesContext(connection) as seen:
        assert client.get(listed(model)).status_code == 200
    return len(seen)


def test_no_list_asks_more_often_for_more_rows(root: Client) -> None:
    user = User.objects.get()
    for number in range(3):
        fill(user, number)
    for model in MODELS:  # What a process learns once, such as content types, is no matter of rows.
        queries(root, model)
    few = {model: queries(root, model) for model in MODELS}
    for number in range(3, 300):
        fill(user, number)
    assert {model: queries(root, model) for model in MODELS} == few


def test_the_apis_list_asks_no_more_often_for_more_rows_either(root: Client) -> None:
    user = User.objects.get()

    def asked() -> int:
        with CaptureQueriesContext(connection) as seen:
            assert root.get("/api/instances?limit=100").status_code == 200
        return len(seen)

    fill(user, 0)
    asked()
    few = asked()
    for number in range(1, 50):
        fill(user, number)
    assert asked() == few


def test_a_host_can_be_forgotten_by_who_may(root: Client, guest: Client) -> None:
    row = Host.objects.create(provider="fake", host="h1")
    path = f"{listed('host')}{row.pk}/delete/"
    assert guest.post(path, {"post": "yes"}).status_code == 403
    assert root.post(path, {"post": "yes"}).status_code == 302
    assert not Host.objects.exists()


def test_a_row_cannot_be_changed_or_deleted(root: Client) -> None:
    path = page_of(make_instance())
    assert root.get(path).status_code == 200
    assert root.post(path, {"status": "deleted"}).status_code == 403
    assert root.post(path.replace("change", "delete"), {"post": "yes"}).status_code == 403


def test_an_action_says_first_what_it_will_do(root: Client, world: World) -> None:
    instance = world.awake()
    told = text_of(order(root, "hibernate", instance.pk))
    assert "Hibernate these instances?" in told
    assert "is destroyed, and its $0.300/h end" in told
    assert not Operation.objects.exists()


@pytest.mark.parametrize(("action", "kind"), [("hibernate", "hibernate"), ("save_now", "snapshot")])
def test_an_action_that_is_confirmed_starts_the_operation_in_the_name_of_the_user(
    root: Client, world: World, action: str, kind: str
) -> None:
    instance = world.awake()
    order(root, action, instance.pk, confirmed="yes")
    operation = instance.operations.get()
    assert (operation.kind, operation.forced, operation.actor) == (kind, True, "user:root")


def test_what_sleeps_is_woken(root: Client, world: World) -> None:
    asleep = make_hibernated()
    order(root, "wake", asleep.pk, confirmed="yes")
    assert asleep.operations.get().kind == "wake"


def test_an_order_that_conflicts_is_told(root: Client) -> None:
    reply = order(root, "hibernate", make_hibernated().pk, confirmed="yes")
    assert "there is nothing to hibernate" in text_of(reply)
    assert not Operation.objects.exists()


def test_who_may_only_look_gives_no_orders(guest: Client, world: World) -> None:
    instance = world.awake()
    assert guest.get(INSTANCES).status_code == 200
    order(guest, "hibernate", instance.pk, confirmed="yes")
    assert not Operation.objects.exists()


def test_strangers_see_nothing(client: Client) -> None:
    assert client.get(INSTANCES).status_code == 302


def test_snapshots_are_kept_let_go_and_deleted_once_that_is_confirmed(root: Client) -> None:
    instance = make_instance()
    old, last = make_snapshot(instance), make_snapshot(instance)
    Instance.objects.update(snapshot=last)
    order_snapshots(root, "keep", old)
    assert "let it go first" in text_of(order_snapshots(root, "delete_snapshots", old, confirmed="yes"))
    order_snapshots(root, "let_go", old)
    asked = order_snapshots(root, "delete_snapshots", old, last)
    assert old.name in text_of(asked)
    assert not Snapshot.objects.filter(state="deleted").exists()
    told = order_snapshots(root, "delete_snapshots", old, last, confirmed="yes")
    assert "is the last good copy" in text_of(told)
    assert [s.state for s in Snapshot.objects.order_by("pk")] == ["deleted", "verified"]
    assert set(Event.objects.values_list("actor", flat=True)) == {"user:root"}


@pytest.mark.parametrize("state", ["verified", "deleted"])
def test_a_snapshot_tells_why_it_is_kept(root: Client, state: str) -> None:
    instance = make_instance(keep_last=1, keep_daily=0)
    rows = [make_snapshot(instance, state=state), make_snapshot(instance)]
    texts = [text_of(root.get(f"{SNAPSHOTS}{row.pk}/change/")) for row in rows]
    assert ("about to be deleted: older than" in texts[0]) == (state == "verified")
    assert "kept: one of the newest 1" in texts[1]


def test_a_snapshots_page_has_its_orders_as_buttons_for_who_may(root: Client, guest: Client) -> None:
    path = f"{SNAPSHOTS}{make_snapshot(make_instance()).pk}/change/"
    assert 'value="prove_again"' in root.get(path).content.decode()
    assert 'value="prove_again"' not in guest.get(path).content.decode()


def test_a_snapshot_is_asked_to_be_proven_again(root: Client) -> None:
    row = make_snapshot(make_instance())
    assert "is being proven again" in text_of(order_snapshots(root, "prove_again", row))
    row.refresh_from_db()
    assert (row.proof_asked_at is not None, row.proof_asked_by) == (True, "user:root")


def test_who_may_only_look_deletes_and_proves_no_snapshot(guest: Client) -> None:
    rows = [make_snapshot(make_instance()) for _ in range(2)]
    order_snapshots(guest, "delete_snapshots", *rows, confirmed="yes")
    order_snapshots(guest, "prove_again", *rows)
    assert not Snapshot.objects.filter(state="deleted").exists()
    assert not Snapshot.objects.filter(proof_asked_at__isnull=False).exists()


@pytest.mark.parametrize(
    ("provider", "address"),
    [
        ("vast", "https://cloud.vast.ai/instances/"),
        ("runpod", "https://console.runpod.io/pods?id=77"),
    ],
)
def test_a_machine_leads_to_its_providers_page(root: Client, provider: str, address: str) -> None:
    make_machine(make_instance(), provider=provider, contract_id="77")
    assert f'href="{address}"' in root.get(listed("machine")).content.decode()


def test_a_machine_tells_what_it_bills(root: Client) -> None:
    make_machine(make_instance(), phase="running", price_now="0.45")
    make_machine(None, state="destroyed")
    told = text_of(root.get(listed("machine")))
    assert "$0.450/h" in told
    assert "nothing" in told


def test_events_are_found_by_instance(root: Client, world: World) -> None:
    one, other = world.awake(), world.awake()
    for row in (one, other):
        Event.objects.create(instance=row, event_type="woke", timestamp=db_now(), reason=f"for {row.pk}")
    told = text_of(root.get(listed("event"), {"q": one.pk}))
    assert f"for {one.pk}" in told
    assert f"for {other.pk}" not in told


@pytest.mark.usefixtures("settings")
def test_the_list_of_keys_shows_no_key(root: Client, settings: Any) -> None:
    settings.DUMONT_PROVIDERS = ["vast"]
    store_key("vast", "very-secret", actor="user:ana")
    reply = root.get(listed("providercredential"))
    assert "vast" in text_of(reply)
    assert "very-secret" not in reply.content.decode()
