"""Adopting, creating, changing, releasing and finding instances over real HTTP requests; and enrolments."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from hibernation.domain.access import Role
from hibernation.domain.errors import ProviderUnavailable
from hibernation.domain.states import InstanceStatus, MachineState, OperationKind, SnapshotState
from hibernation.models import Enrolment, Event, Instance, Membership, Operation, Snapshot, Team
from hibernation.providers.base import Phase
from hibernation.services.instances import release_instance
from hibernation.services.teams import default_team
from tests.factories import make_hibernated, make_instance, make_machine, make_operation, make_snapshot
from tests.hibernation.services.world import World, assert_consistent, events

pytestmark = pytest.mark.django_db

RENTAL = {"contract_id": 12345, "may_be_destroyed": True}
FRESH = {"gpu_type": "RTX 4090", "image": "img:1"}


@pytest.fixture
def rental(world: World) -> World:
    world.provider.rent("my own", contract="12345")
    return world


def post(api: Client, body: Any, path: str = "/api/instances", **headers: str) -> Any:
    return api.post(path, body, content_type="application/json", headers=headers)


def patch(api: Client, instance: Instance, body: Any) -> Any:
    return api.patch(f"/api/instances/{instance.pk}", body, content_type="application/json")


def code(reply: Any) -> str:
    return str(reply.json()["error"]["code"])


ROUTES = [
    ("post", "/api/instances"),
    ("patch", "/api/instances/x"),
    ("delete", "/api/instances/x"),
    ("post", "/api/enrolments"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_nobody_gets_in_without_a_token(db: None, method: str, path: str) -> None:
    assert getattr(Client(), method)(path).status_code == 401


@pytest.mark.parametrize("method", ["patch", "delete"])
def test_an_unknown_instance_is_not_found(api: Client, method: str) -> None:
    reply = getattr(api, method)("/api/instances/x", content_type="application/json")
    assert (reply.status_code, code(reply)) == (404, "not_found")


@pytest.mark.parametrize(
    "name",
    [
        {"contract_id": 12345},
        {"contract_id": "12345", "provider": "fake", "name": "training"},
        {"instance_id": "fake_12345"},
    ],
)
def test_a_rental_is_adopted(rental: World, api: Client, name: dict[str, Any]) -> None:
    reply = post(api, {**name, "may_be_destroyed": True})
    assert reply.status_code == 202, reply.json()
    told = reply.json()
    assert (told["kind"], told["instance_id"], told["actor"]) == ("adopt", "fake_12345", "user:ana")
    assert reply.headers["Location"] == f"/api/operations/{told['id']}"
    rental.run(Operation.objects.get())
    seen = api.get("/api/instances/fake_12345").json()
    assert (seen["status"], seen["vast_info"]["instance_id"]) == ("running", 12345)
    assert seen["name"] == name.get("name", "")


def test_one_who_waits_is_told_the_address(rental: World, api: Client) -> None:
    rental.run(Operation.objects.get(pk=post(api, RENTAL, **{"Idempotency-Key": "k"}).json()["id"]))
    reply = post(api, RENTAL, "/api/instances?wait=1", **{"Idempotency-Key": "k"})
    assert reply.status_code == 200
    assert {k: reply.json()[k] for k in ("success", "instance_id", "ssh_host", "ssh_port")} == {
        "success": True,
        "instance_id": "fake_12345",
        "ssh_host": "127.0.0.1",
        "ssh_port": 22,
    }


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"contract_id": 12345}, "may_be_destroyed"),
        ({"contract_id": 12345, "may_be_destroyed": False}, "may_be_destroyed"),
        ({"contract_id": 12345, "may_be_destroyed": "true"}, "may_be_destroyed"),
        ({"contract_id": 12345, "instance_id": "fake_12345", "may_be_destroyed": True}, "contract_id"),
        ({"instance_id": "12345", "may_be_destroyed": True}, "instance_id"),
        ({"instance_id": "fake_1", "provider": "other", "may_be_destroyed": True}, "provider"),
        ({**RENTAL, "provider": "nobody"}, "provider"),
        ({**RENTAL, "gpu_type": "RTX 4090"}, "gpu_type"),
        *(({**RENTAL, "contract_id": bad}, "contract_id") for bad in (True, 1.5, None, "", "a/b", "é", [1])),
        ({}, "gpu_type"),
        ({"gpu_type": "RTX 4090"}, "image"),
        ({**FRESH, "provider": "nobody"}, "provider"),
        ({**FRESH, "region": "Atlantis"}, "region"),
        ({**FRESH, "max_price": -1}, "max_price"),
        ({**FRESH, "disk_gb": 0}, "disk_gb"),
        ({**FRESH, "gpu_count": True}, "gpu_count"),
        ({**FRESH, "wish": 1}, "wish"),
    ],
)  # fmt: skip
def test_a_wish_that_makes_no_sense_does_nothing(rental: World, api: Client, body: Any, field: str) -> None:
    reply = post(api, body)
    assert (reply.status_code, code(reply)) == (400, "invalid")
    assert field in reply.json()["error"]["fields"]
    assert not Instance.objects.exists()
    assert not rental.provider.calls("attach_key")


@pytest.mark.parametrize("body", [[], "x", None, 1, [RENTAL]])
def test_a_body_that_is_no_object_is_refused(world: World, api: Client, body: Any) -> None:
    assert post(api, body).status_code == 400


def test_a_refused_adoption_says_why(rental: World, api: Client) -> None:
    assert code(post(api, {**RENTAL, "contract_id": 7})) == "not_found"
    mine = rental.provider.machines["12345"]
    rental.provider.machines["12345"] = replace(mine, phase=Phase.STOPPED)
    assert code(post(api, RENTAL)) == "not_running"
    rental.provider.machines["12345"] = replace(mine, label="dumont-other-x")
    assert code(post(api, RENTAL)) == "label_taken"
    rental.provider.machines["12345"] = mine
    post(api, RENTAL)
    reply = post(api, RENTAL)
    assert (reply.status_code, code(reply)) == (409, "under_care")
    assert "fake_12345" in reply.json()["error"]["message"]
    rental.provider.list_error = ProviderUnavailable("away")
    assert post(api, {**RENTAL, "contract_id": 7}).status_code == 503


def test_a_fresh_instance_is_created_and_started(world: World, api: Client) -> None:
    reply = post(api, {**FRESH, "max_price": "0.5", "region": "PT", "disk_gb": 20, "name": "fresh"})
    assert reply.status_code == 202, reply.json()
    instance = Instance.objects.get()
    assert reply.json()["instance_id"] == instance.pk
    assert (instance.name, instance.image, instance.disk_gb, instance.region) == ("fresh", "img:1", 20, "PT")
    operation = world.run(Operation.objects.get())
    instance.refresh_from_db()
    assert (operation.state, instance.status) == ("succeeded", "running"), operation.error
    assert_consistent(instance)


def test_the_same_key_rents_once(world: World, api: Client) -> None:
    replies = [post(api, FRESH, **{"Idempotency-Key": "k"}).json() for _ in range(2)]
    assert replies[0]["id"] == replies[1]["id"]
    world.run(Operation.objects.get())
    assert post(api, FRESH, **{"Idempotency-Key": "k"}).status_code == 200
    assert len(world.provider.calls("launch")) == 1
    post(api, FRESH, **{"Idempotency-Key": "another"})
    post(api, FRESH)
    assert Instance.objects.count() == 3


def test_a_name_and_rules_are_changed(api: Client) -> None:
    instance = make_instance()
    reply = patch(api, instance, {"name": "training", "pause_after_minutes": 7})
    assert reply.status_code == 200
    assert (reply.json()["name"], reply.json()["auto_hibernation"]["pause_after_minutes"]) == ("training", 7)
    assert Event.objects.get().data == {"name": ["", "training"], "pause_after": ["0:03:00", "0:07:00"]}


@pytest.mark.parametrize(
    "body", [{"name": "x" * 101}, {"name": None}, {"status": "running"}, {"keep_last": 0}]
)
def test_a_change_that_makes_no_sense_changes_nothing(api: Client, body: dict[str, Any]) -> None:
    before = Instance.objects.filter(pk=make_instance().pk).values().get()
    assert patch(api, Instance.objects.get(), body).status_code == 400
    assert Instance.objects.values().get() == before


def test_an_instance_with_a_machine_is_released_only_if_that_is_meant(world: World, api: Client) -> None:
    instance = world.awake()
    reply = api.delete(f"/api/instances/{instance.pk}")
    assert (reply.status_code, code(reply)) == (409, "machine_live")
    reply = api.delete(f"/api/instances/{instance.pk}?leave_machine=true")
    assert (reply.status_code, reply.json()["status"], reply.json()["machine"]) == (200, "released", None)
    assert not world.provider.calls("destroy")
    assert api.delete(f"/api/instances/{instance.pk}").status_code == 200
    assert events(instance) == ["released"]
    assert_consistent(instance)


@pytest.mark.parametrize("status", ["hibernated", "deleted"])
def test_its_copies_stay_unless_that_is_meant(api: Client, status: str) -> None:
    instance = make_hibernated(status=status, delete_due_at=None)
    older = make_snapshot(instance)
    assert api.delete(f"/api/instances/{instance.pk}").json()["snapshot_id"] is not None
    reply = api.delete(f"/api/instances/{instance.pk}?delete_snapshots=true")
    assert (reply.status_code, reply.json()["snapshot_id"]) == (200, None)
    assert set(Snapshot.objects.values_list("state", flat=True)) == {SnapshotState.DELETED}
    older.refresh_from_db()
    assert (older.state_reason, older.deleted_at is not None) == ("deleted on request", True)
    wake = post(api, {}, f"/api/instances/{instance.pk}/wake")
    assert (wake.status_code, code(wake)) == (409, "conflict")


def test_a_copy_that_is_kept_holds_the_release_up(api: Client) -> None:
    instance = make_hibernated()
    Snapshot.objects.update(kept=True)
    reply = api.delete(f"/api/instances/{instance.pk}?delete_snapshots=true")
    assert (reply.status_code, code(reply)) == (409, "snapshot_kept")
    instance.refresh_from_db()
    assert instance.status == InstanceStatus.HIBERNATED


def test_nothing_is_released_in_the_middle_of_something(api: Client) -> None:
    instance = make_hibernated()
    make_operation(instance, kind=OperationKind.WAKE, step="choose")
    assert api.delete(f"/api/instances/{instance.pk}").status_code == 409


@pytest.mark.parametrize("query", ["leave_machine=1", "delete_snapshots=yes"])
def test_a_flag_is_true_or_false(api: Client, query: str) -> None:
    assert api.delete(f"/api/instances/{make_instance().pk}?{query}").status_code == 400


def listed(api: Client, query: str = "") -> list[str]:
    return [row["instance_id"] for row in api.get(f"/api/instances{query}").json()["instances"]]


def test_the_list_can_be_searched(api: Client) -> None:
    make_instance(id="a_1", name="Training", provider="local")
    make_instance(id="b_2", status="idle")
    make_instance(id="c_3", status="released")
    assert listed(api) == ["a_1", "b_2"]
    assert listed(api, "?status=released") == ["c_3"]
    assert listed(api, "?status=running,idle") == ["a_1", "b_2"]
    assert listed(api, "?provider=local") == ["a_1"]
    assert listed(api, "?search=train") == ["a_1"]
    assert listed(api, "?search=_2") == ["b_2"]
    assert listed(api, "?search=%25") == []


@pytest.mark.parametrize(
    "query",
    ["status=running,x", "search=%00", f"search={'x' * 101}", "provider=%00", "limit=0", "limit=x", "cursor=x",
     "cursor=cD0vLi4v"],
)  # fmt: skip
def test_a_search_that_makes_no_sense_is_refused(api: Client, query: str) -> None:
    assert api.get(f"/api/instances?{query}").status_code in (400, 404)


def test_the_list_has_pages(api: Client) -> None:
    ids = sorted(make_instance(id=f"vast_{number}").pk for number in range(5))
    seen, address = [], "/api/instances?limit=2"
    while address:
        page = api.get(address).json()
        seen += [row["instance_id"] for row in page["instances"]]
        address = page["next"]
    assert seen == ids


def test_a_longer_list_asks_the_database_no_more_often(api: Client) -> None:
    def asked() -> int:
        with CaptureQueriesContext(connection) as queries:
            api.get("/api/instances")
        return len(queries)

    def grow() -> None:
        instance = make_instance(status="idle")
        make_machine(instance)
        make_machine(instance, state=MachineState.DESTROYING)
        make_operation(instance, kind=OperationKind.SNAPSHOT, step="freeze").steps.create(
            step="quiesce", entered_at=instance.created_at, finished_at=instance.created_at
        )
        make_snapshot(instance)

    grow()
    asked()  # The token's first use is written down.
    before = asked()
    for _ in range(5):
        grow()
    assert asked() == before


def test_a_machine_enrols_itself(rental: World, api: Client) -> None:
    made = post(api, {"may_be_destroyed": True}, "/api/enrolments")
    assert made.status_code == 201
    told = made.json()
    assert told["command"].endswith(f"/api/enrol.sh | sh -s -- {told['token']}")
    box = Client(headers={"Authorization": f"Bearer {told['token']}"})
    reply = post(box, {"contract_id": "12345"}, "/api/enrolments/claim")
    assert (reply.status_code, reply.json()["instance_id"]) == (202, "fake_12345")
    assert code(post(box, {"contract_id": "12345"}, "/api/enrolments/claim")) == "forbidden"


def test_an_enrolment_needs_consent(api: Client) -> None:
    reply = post(api, {}, "/api/enrolments")
    assert (reply.status_code, list(reply.json()["error"]["fields"])) == (400, ["may_be_destroyed"])


@pytest.mark.parametrize(
    ("header", "body", "status"),
    [
        (None, {"contract_id": "1"}, 401),
        ("Bearer dme_x", {"contract_id": "1"}, 403),
        ("Bearer dme_x", {"contract_id": "../1"}, 400),
        ("Bearer dme_x", {}, 400),
        ("Bearer dme_x", [[[]]], 400),
    ],
)
def test_a_wrong_claim_is_refused(world: World, header: str | None, body: Any, status: int) -> None:
    client = Client(headers={"Authorization": header} if header else {})
    assert post(client, body, "/api/enrolments/claim").status_code == status


def test_the_script_is_the_same_for_everybody_and_holds_no_secret(world: World) -> None:
    reply = Client().get("/api/enrol.sh")
    assert reply.headers["Content-Type"].startswith("text/x-shellscript")
    assert "key='ssh-ed25519 AAAA test'" in reply.content.decode()
    assert "dme_" not in reply.content.decode()


def test_what_goes_on_after_a_release_is_told(world: World) -> None:
    instance = world.awake()
    release_instance(instance.pk, actor="user:ana", leave_machine=True)
    event = Event.objects.get()
    assert "goes on without us" in event.reason


@pytest.fixture
def mine(api: Client) -> Team:
    """Another team of ana's, which she joined later."""
    team = Team.objects.create(name="mine")
    team.memberships.create(user=User.objects.get(username="ana"), role=Role.OWNER)
    return team


@pytest.mark.parametrize("body", [RENTAL, FRESH])
def test_whose_it_will_be_can_be_said(rental: World, api: Client, mine: Team, body: dict[str, Any]) -> None:
    assert post(api, body | {"team": "mine"}).status_code == 202
    assert Instance.objects.get().team == mine
    assert api.get("/api/instances").json()["instances"][0]["team"] == "mine"


def test_unsaid_it_is_the_first_team_of_which_one_is_an_owner(world: World, api: Client, mine: Team) -> None:
    Membership.objects.filter(team=default_team()).update(role=Role.MEMBER)
    post(api, FRESH)
    assert Instance.objects.get().team == mine


def test_an_enrolment_is_for_the_team_that_is_named(world: World, api: Client, mine: Team) -> None:
    reply = post(api, {"may_be_destroyed": True, "team": "mine"}, "/api/enrolments")
    assert reply.status_code == 201
    assert Enrolment.objects.get().team == mine


@pytest.mark.parametrize("name", ["theirs", "nobodys"])
@pytest.mark.parametrize("path", ["/api/instances", "/api/enrolments"])
def test_a_team_of_others_is_told_from_none_by_nothing(
    rental: World, api: Client, path: str, name: str
) -> None:
    Team.objects.create(name="theirs")
    reply = post(api, {"may_be_destroyed": True, "team": name} | ({} if "enrol" in path else RENTAL), path)
    assert reply.json()["error"]["fields"] == {"team": f"There is no team {name!r}."}
    assert not Instance.objects.exists()


def test_who_is_no_owner_of_the_named_team_takes_nothing_in(rental: World, api: Client, mine: Team) -> None:
    Membership.objects.filter(team=mine).update(role=Role.MEMBER)
    assert post(api, RENTAL | {"team": "mine"}).status_code == 403
    assert post(api, RENTAL).status_code == 202


def test_a_key_that_was_used_for_another_team_rents_nothing(world: World, api: Client, mine: Team) -> None:
    post(api, FRESH, **{"Idempotency-Key": "k"})
    reply = post(api, FRESH | {"team": "mine"}, **{"Idempotency-Key": "k"})
    assert (reply.status_code, code(reply)) == (409, "conflict")
    assert Operation.objects.count() == 1
