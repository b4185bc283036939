"""Every call of the API by everybody who may knock: read from the addresses, so that no new one is forgotten."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client

from hibernation.api.permissions import Access
from hibernation.api.throttles import PerCaller
from hibernation.domain.access import OF_NEED, Need, Right, Role, Scope
from hibernation.models import ApiToken, Instance, Team
from hibernation.services.teams import default_team
from hibernation.services.tokens import create_api_token
from tests.factories import make_schedule, make_user
from tests.hibernation.api.routes import Call, calls
from tests.hibernation.services.world import World

pytestmark = pytest.mark.django_db
PAGE = Path(__file__).parents[3] / "docs" / "access.md"
API = PAGE.parents[1] / "hibernation" / "api"
CALLS = calls()
PEOPLES = [call for call in CALLS if call.need not in (Need.AGENT, Need.PUBLIC)]
OF_ONE_TEAM = [
    call for call in PEOPLES if call.names & {"instance_id", "operation_id", "team_id", "token_id"}
]
OWN_CREDENTIALS = {"POST /api/enrolments/claim", "GET /api/store/{key}", "PUT /api/store/{key}"}
"""Public, for what opens them is in the call: an enrolment's token, a signature."""
REFUSED = {401: "who?", 403: "no", 404: "what?"}
ROLES = {
    "stranger": None,
    "agent": None,
    "owner of another team": Right.ADMIN,
    "viewer": Right.READ,
    "member": Right.OPERATE,
    "owner": Right.ADMIN,
    "viewer's session": Right.READ,
    "member's session": Right.OPERATE,
    "owner's session": Right.ADMIN,
    "owner's token to read": Right.READ,
    "owner's token to operate": Right.OPERATE,
}


def ask(client: Client, call: Call, path: str) -> Any:
    """As it is, with an empty body; nothing of it stays."""
    with transaction.atomic():
        reply = client.generic(call.method, path, "{}", content_type="application/json")
        transaction.set_rollback(True)
    return reply


class House:
    """A team with somebody of each role, and its instance with all that belongs to one; and another team's owner."""

    def __init__(self, world: World) -> None:
        self.instance = world.asleep()
        make_schedule(self.instance)
        self.agent = world.box(world.awake()).token
        self.users = {role: make_user(role.value, role) for role in Role}
        self.other = Team.objects.create(name="other")
        self.outsider = make_user("outsider", Role.OWNER, self.other)

    def client(self, role: str) -> Client:
        if role == "stranger":
            return Client()
        if role == "agent":
            return Client(headers={"Authorization": f"Bearer {self.agent}"})
        client = Client()
        if role.endswith("'s session"):
            client.force_login(self.user(role))
            return client
        scope = {"read": Scope.READ, "operate": Scope.OPERATE}.get(role.rpartition(" to ")[2], Scope.ADMIN)
        raw = create_api_token(self.user(role), "t", scope=scope)
        return Client(headers={"Authorization": f"Bearer {raw}"})

    def user(self, role: str) -> User:
        if role == "owner of another team":
            return self.outsider
        return self.users[Role(role.partition("'")[0])]

    def path(self, call: Call, owner: User) -> str:
        """To what is the team's, and to a token of ``owner``."""
        snapshot = self.instance.snapshot
        assert snapshot is not None
        return call.to(
            instance_id=self.instance.pk,
            operation_id=self.instance.operations.latest("pk").pk,
            team_id=default_team().pk,
            username="viewer",
            token_id=ApiToken.objects.filter(user=owner).first().pk,  # type: ignore[union-attr]
            name=snapshot.name,
            snapshot=snapshot.name,
            key="packs/x",
        )


@pytest.fixture
def house(world: World) -> House:
    return House(world)


def told(call: Call, role: str) -> str:
    """What the rules say that this one gets."""
    right = ROLES[role]
    if right is None:
        return "who?"
    if role == "owner of another team" and call in OF_ONE_TEAM:
        return "what?"
    if call.need is Need.OWN:
        return "no" if " to " in role else "yes"
    assert call.need is not None
    return "yes" if right >= OF_NEED[call.need] else "no"


@pytest.mark.parametrize("role", ROLES)
def test_everybody_gets_what_the_rules_say_and_no_more(house: House, role: str) -> None:
    client = house.client(role)
    owner = house.users[Role.OWNER] if ROLES[role] is None or "another" in role else house.user(role)
    create_api_token(owner, "to be revoked")
    got = {}
    for call in PEOPLES:
        reply = ask(client, call, house.path(call, owner))
        assert reply.status_code < 500, (str(call), reply.content)
        got[str(call)] = REFUSED.get(reply.status_code, "yes")
    assert got == {str(call): told(call, role) for call in PEOPLES}


def test_no_token_of_a_person_opens_what_is_agents_or_carries_its_own(house: House) -> None:
    owner = house.users[Role.OWNER]
    create_api_token(owner, "t")
    for role, call in itertools.product(ROLES, [call for call in CALLS if call not in PEOPLES]):
        reply = ask(house.client(role), call, house.path(call, owner))
        if str(call) in OWN_CREDENTIALS:
            assert reply.status_code in (400, 401, 403), (call, role)
        elif role == "agent":
            # A token that is not a person's is a wrong one even where none is asked for.
            assert reply.status_code in ((400,) if call.need is Need.AGENT else (200, 401)), (call, role)
        else:
            assert reply.status_code == (401 if call.need is Need.AGENT else 200), (call, role)


def test_what_is_another_teams_is_told_from_nothing_by_no_word(house: House) -> None:
    create_api_token(house.users[Role.OWNER], "t")
    client = house.client("owner of another team")
    nothing = dict.fromkeys(("instance_id", "username", "name", "snapshot", "key"), "never")
    nothing |= dict.fromkeys(("operation_id", "team_id", "token_id"), "987654")
    for call in OF_ONE_TEAM:
        theirs = ask(client, call, house.path(call, house.users[Role.OWNER]))
        nobodys = ask(client, call, call.to(**nothing))
        assert (theirs.status_code, nobodys.status_code) == (404, 404), call
        assert without_names(theirs) == without_names(nobodys), call


def without_names(reply: Any) -> str:
    return re.sub(r"'[^']+'|\d+", "X", reply.content.decode())


def test_to_name_another_teams_instance_in_a_question_is_to_name_none(house: House) -> None:
    client = house.client("owner of another team")
    for path in ("/api/operations", "/api/offers", "/api/schedules.ics"):
        theirs = client.get(path, {"instance": house.instance.pk})
        assert theirs.status_code == 404
        assert theirs.json()["error"]["message"] == f"There is no instance {house.instance.pk!r}."


def test_no_list_holds_anything_of_another_team(house: House) -> None:
    Instance.objects.filter(pk=house.instance.pk).update(name="the secret work")
    client = house.client("owner of another team")
    for call in (call for call in PEOPLES if call.method == "GET" and not call.names):
        told = client.get(call.path).content.decode()
        for theirs in (house.instance.pk, "the secret work", "default", "viewer"):
            assert theirs not in told, call


def test_the_counts_are_of_ones_own_teams(house: House) -> None:
    theirs = house.client("owner of another team").get("/api/hibernation/stats").json()
    assert theirs["total_instances"] == theirs["storage"]["bytes"] == theirs["billing_now_usd_per_hour"] == 0
    ours = house.client("viewer").get("/api/hibernation/stats").json()
    assert ours["total_instances"] == 2
    assert ours["storage"]["bytes"] > 0
    assert ours["billing_now_usd_per_hour"] > 0


def test_every_call_declares_what_it_needs() -> None:
    assert [str(call) for call in CALLS if call.need is None] == []


def test_no_view_goes_by_other_rules() -> None:
    views = {call.view.cls for call in CALLS if hasattr(call.view, "cls")}
    assert {view for view in views if view.permission_classes != [Access]} == set()
    assert {view for view in views if view.throttle_classes != [PerCaller]} == set()


def test_no_view_finds_rows_past_the_one_place() -> None:
    """Those below are handed what the permission has let through: an id of the address, or rows."""
    found = {
        (path.name, model)
        for path in API.glob("*.py")
        for model, call in re.findall(r"\b([A-Z]\w+)\.(?:objects|_default_manager)\.(\w+)", path.read_text())
        if call != "none"
    }
    assert found == {
        ("serializers.py", "Machine"),
        ("serializers.py", "Operation"),
        ("waiting.py", "Operation"),
    }


def test_what_changes_something_needs_more_than_to_look() -> None:
    assert not [str(call) for call in PEOPLES if (call.method == "GET") != (call.need is Need.READ)]


def test_the_page_about_access_has_every_call_with_its_need() -> None:
    """If this fails: the table in ``docs/access.md``."""
    rows = re.findall(r"^\| `(\w+ /\S+)` \| (\w+) \|", PAGE.read_text(), re.MULTILINE)
    assert dict(rows) == {str(call): call.need.value if call.need else "" for call in CALLS}
