"""One's own tokens over the API: the secret once, never more rights than what makes it, and nobody else's."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from hibernation.domain.access import Role, Scope
from hibernation.models import ApiToken, Event, Team
from hibernation.providers.registry import provider_names
from hibernation.services import own_tokens
from hibernation.services.access import NotAllowed, caller_of
from hibernation.services.adopt import issue_enrolment
from hibernation.services.clock import db_now
from hibernation.services.own_tokens import create_own_token
from hibernation.services.teams import default_team
from hibernation.services.tokens import create_api_token, find_enrolment, revoke_api_token
from tests.factories import make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def ana() -> User:
    return make_user("ana", Role.VIEWER)


def by_token(user: User, lifetime: timedelta | None = None, **more: Any) -> Client:
    return client_of(create_api_token(user, "first", lifetime, **more))


def client_of(raw: str) -> Client:
    return Client(headers={"Authorization": f"Bearer {raw}"})


def make(client: Client, **wish: Any) -> Any:
    return client.post("/api/tokens", {"name": "ci", "scope": "read"} | wish, content_type="application/json")


def test_the_secret_is_told_once_and_works(ana: User) -> None:
    reply = make(by_token(ana), scope="operate", expires_in_days=30)
    assert (reply.status_code, reply.headers["Cache-Control"]) == (201, "no-store")
    made = reply.json()
    assert client_of(made["token"]).get("/api/me").json()["scopes"] == ["read", "operate"]
    row = ApiToken.objects.get(pk=made["id"])
    assert row.expires_at == row.created_at + timedelta(days=30)
    assert made["token"] not in by_token(ana).get("/api/tokens").content.decode()
    assert "'ci' of ana was made" in Event.objects.get().reason


def test_a_viewer_makes_a_token_by_session(ana: User) -> None:
    client = Client()
    client.force_login(ana)
    assert make(client, scope="admin").status_code == 201


@pytest.mark.parametrize("scope", [Scope.READ, Scope.OPERATE])
def test_a_token_below_admin_makes_and_revokes_none(ana: User, scope: Scope) -> None:
    client = by_token(ana, scope=scope)
    assert make(client).status_code == 403
    assert client.delete(f"/api/tokens/{ApiToken.objects.get().pk}").status_code == 403
    assert ApiToken.objects.get().revoked_at is None


def test_no_service_lets_one_make_more_than_itself(ana: User) -> None:
    create_api_token(ana, "t", scope=Scope.READ)
    with pytest.raises(NotAllowed):
        own_tokens.create_own_token(
            caller_of(ana, ApiToken.objects.get()), "x", Scope.OPERATE, team=None, lifetime=None, actor="a"
        )
    assert ApiToken.objects.count() == 1


def test_one_that_is_for_a_team_makes_them_for_that_team(ana: User) -> None:
    mine = Team.objects.create(name="mine")
    mine.memberships.create(user=ana, role=Role.OWNER)
    client = by_token(ana, team=mine)
    assert make(client).json()["team"] == "mine"
    assert "There is no team" in make(client, team="default").json()["error"]["fields"]["team"]
    assert make(client, team=None).json()["team"] == "mine"


def test_a_token_can_be_for_a_team_of_ones_own_only(ana: User) -> None:
    Team.objects.create(name="theirs")
    foreign, none = make(by_token(ana), team="theirs"), make(by_token(ana), team="nobodys")
    assert (foreign.status_code, none.status_code) == (400, 400)
    assert foreign.json()["error"]["fields"]["team"] == "There is no team 'theirs'."


def test_it_dies_no_later_than_the_one_that_makes_it(ana: User) -> None:
    client = by_token(ana, timedelta(days=2))
    assert "expires before" in make(client, expires_in_days=3).json()["error"]["fields"]["expires_in_days"]
    first = ApiToken.objects.get(name="first")
    assert first.expires_at is not None
    assert ApiToken.objects.get(pk=make(client).json()["id"]).expires_at == first.expires_at
    sooner = ApiToken.objects.get(pk=make(client, expires_in_days=1).json()["id"]).expires_at
    assert sooner is not None
    assert sooner < first.expires_at


def test_nobody_has_more_than_a_hundred_that_live(ana: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_tokens, "MOST_LIVING", 2)
    create_api_token(ana, "expired", timedelta(seconds=-1))
    client = by_token(ana)
    assert make(client).status_code == 201
    assert make(client).json()["error"]["code"] == "conflict"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("scope", "root"),
        ("scope", None),
        ("name", ""),
        ("expires_in_days", 0),
        ("expires_in_days", True),
        ("x", 1),
    ],
)
def test_a_wish_that_makes_no_sense_is_refused(ana: User, field: str, value: Any) -> None:
    reply = make(by_token(ana), **{field: value})
    assert (reply.status_code, list(reply.json()["error"]["fields"])) == (400, [field])


def test_a_revoked_one_is_refused_and_still_listed(ana: User) -> None:
    client = by_token(ana)
    made = make(client).json()
    for _ in range(2):
        assert client.delete(f"/api/tokens/{made['id']}").json()["revoked_at"] is not None
    assert client_of(made["token"]).get("/api/me").status_code == 401
    listed = {row["id"]: row for row in client.get("/api/tokens").json()["tokens"]}
    assert listed[made["id"]]["revoked_at"] is not None
    assert [event.reason for event in Event.objects.order_by("pk")][1:] == [
        "the token 'ci' of ana was revoked"
    ]


def a_provider() -> str:
    return next(iter(provider_names()))


def revoke(client: Client, token_id: int) -> Any:
    return client.delete(f"/api/tokens/{token_id}")


def test_what_was_made_with_a_token_is_revoked_with_it_and_so_on(ana: User) -> None:
    leaked = by_token(ana)
    made = make(leaked, scope="admin").json()
    of_that = make(client_of(made["token"])).json()
    assert of_that["made_with"] == made["id"]
    session, first = Client(), ApiToken.objects.order_by("pk")[0]
    session.force_login(ana)
    assert revoke(session, first.pk).status_code == 200
    assert [client_of(one["token"]).get("/api/me").status_code for one in (made, of_that)] == [401, 401]
    assert Event.objects.filter(reason__contains="was revoked").count() == 3


def test_the_token_that_revokes_its_maker_replaces_it(ana: User) -> None:
    old = by_token(ana)
    new = make(old, scope="admin").json()
    theirs = make(client_of(new["token"])).json()
    other = make(old).json()
    assert revoke(client_of(new["token"]), ApiToken.objects.order_by("pk")[0].pk).status_code == 200
    assert [client_of(one["token"]).get("/api/me").status_code for one in (new, theirs, other)] == [
        200,
        200,
        401,
    ]


def test_a_token_that_revokes_itself_takes_what_it_made_along(ana: User) -> None:
    old = by_token(ana)
    new = make(old).json()
    revoke(old, ApiToken.objects.order_by("pk")[0].pk)
    assert client_of(new["token"]).get("/api/me").status_code == 401


def test_an_enrolment_dies_with_the_token_that_asked_for_it(ana: User) -> None:
    bob = make_user("bob", Role.OWNER)
    wish = {"provider": a_provider(), "may_be_destroyed": True}
    reply = by_token(bob).post("/api/enrolments", wish, content_type="application/json")
    assert find_enrolment(reply.json()["token"]) is not None
    revoke_api_token(ApiToken.objects.get().pk, actor="user:bob")
    assert find_enrolment(reply.json()["token"]) is None


def test_nothing_is_made_with_a_token_that_was_revoked_just_now(ana: User) -> None:
    create_api_token(ana, "first")
    token = ApiToken.objects.get()
    caller = caller_of(ana, token)
    revoke_api_token(token.pk, actor="user:ana")
    with pytest.raises(NotAllowed, match="was revoked"):
        create_own_token(caller, "second", Scope.READ, team=None, lifetime=None, actor="user:ana")
    with pytest.raises(NotAllowed, match="was revoked"):
        issue_enrolment(a_provider(), actor="user:ana", team=default_team(), caller=caller)
    assert ApiToken.objects.count() == 1


def test_nobody_elses_token_is_seen_or_revoked(ana: User) -> None:
    create_api_token(make_user("eva"), "evas")
    other = ApiToken.objects.get()
    client = by_token(ana)
    assert [row["name"] for row in client.get("/api/tokens").json()["tokens"]] == ["first"]
    reply = client.delete(f"/api/tokens/{other.pk}")
    assert reply.json()["error"]["message"] == f"There is no token {other.pk}."
    other.refresh_from_db()
    assert other.revoked_at is None


def test_its_last_use_is_shown_and_written_once_a_minute(ana: User, django_assert_num_queries: Any) -> None:
    client = by_token(ana)
    client.get("/api/me")
    first = ApiToken.objects.get().last_used_at
    assert first is not None
    told = client.get("/api/me").json()["token"]["last_used_at"]
    assert ApiToken.objects.get().last_used_at == first
    assert told is not None
    ApiToken.objects.update(last_used_at=db_now() - timedelta(seconds=61))
    client.get("/api/me")
    assert ApiToken.objects.get().last_used_at > first


def test_me_tells_roles_and_what_the_token_leaves_of_them(ana: User) -> None:
    mine = Team.objects.create(name="mine")
    mine.memberships.create(user=ana, role=Role.OWNER)
    told = by_token(ana, scope=Scope.OPERATE).get("/api/me").json()
    assert (told["user"], told["token"]["scope"], told["token"]["team"]) == ("ana", "operate", None)
    assert [(team["name"], team["role"], team["may"]) for team in told["teams"]] == [
        ("default", "viewer", "read"),
        ("mine", "owner", "operate"),
    ]


def test_a_token_dies_with_its_team(ana: User) -> None:
    mine = Team.objects.create(name="mine")
    client = by_token(ana, team=mine)
    mine.delete()
    assert client.get("/api/me").status_code == 401
