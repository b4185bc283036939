"""A team's people over the API."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from hibernation.domain.access import Role
from hibernation.models import Event, Membership
from hibernation.services.teams import default_team
from tests.factories import make_user

pytestmark = pytest.mark.django_db


def members(api: Client, who: str = "", method: str = "get", **body: Any) -> Any:
    path = f"/api/teams/{default_team().pk}/members" + (f"/{who}" if who else "")
    return getattr(api, method)(path, body or None, **({"content_type": "application/json"} if body else {}))


def roles() -> dict[str, str]:
    return dict(Membership.objects.values_list("user__username", "role"))


def error(reply: Any) -> tuple[int, str]:
    return reply.status_code, reply.json()["error"]["code"]


def test_an_owner_lets_in_changes_and_lets_go(api: Client) -> None:
    make_user("eva", role=None)
    assert members(api, method="post", user="eva", role="viewer").status_code == 201
    assert members(api).json() == {
        "members": [{"user": "ana", "role": "owner"}, {"user": "eva", "role": "viewer"}]
    }
    assert members(api, "eva", "patch", role="member").json() == {"user": "eva", "role": "member"}
    assert roles()["eva"] == "member"
    assert members(api, "eva", "delete").json() == {"members": [{"user": "ana", "role": "owner"}]}
    assert [(event.reason, event.actor) for event in Event.objects.order_by("pk")] == [
        ("eva joined default as viewer", "user:ana"),
        ("eva is now member in default", "user:ana"),
        ("eva left default", "user:ana"),
    ]


def test_a_team_keeps_an_owner(api: Client) -> None:
    assert error(members(api, "ana", "patch", role="member")) == (409, "conflict")
    assert error(members(api, "ana", "delete")) == (409, "conflict")
    make_user("eva", Role.OWNER)
    assert members(api, "ana", "delete").status_code == 200
    assert roles() == {"eva": "owner"}


def test_an_owner_who_cannot_log_in_does_not_keep_a_team(api: Client) -> None:
    gone = make_user("gone", Role.OWNER)
    gone.is_active = False
    gone.save()
    team = Membership.objects.get(user=gone).team_id
    reply = api.delete(f"/api/teams/{team}/members/ana")
    assert reply.status_code == 409


def test_the_same_role_again_is_no_news(api: Client) -> None:
    assert members(api, "ana", "patch", role="owner").status_code == 200
    assert not Event.objects.exists()


@pytest.mark.parametrize("name", ["nobody", "gone"])
def test_whom_nobody_knows_is_not_let_in(api: Client, name: str) -> None:
    User.objects.create_user("gone", is_active=False)
    reply = members(api, method="post", user=name, role="owner")
    assert reply.json()["error"]["fields"] == {"user": f"There is no user {name!r}."}
    assert roles() == {"ana": "owner"}


def test_nobody_is_let_in_twice(api: Client) -> None:
    assert error(members(api, method="post", user="ana", role="viewer")) == (409, "conflict")


@pytest.mark.parametrize("method", ["patch", "delete"])
@pytest.mark.parametrize("user", ["eva", "a%00b"])
def test_who_is_not_in_it_is_not_found(api: Client, method: str, user: str) -> None:
    make_user("eva", role=None)
    body = {"role": "owner"} if method == "patch" else {}
    assert error(members(api, user, method, **body)) == (404, "not_found")


def test_a_role_that_does_not_exist_is_refused(api: Client) -> None:
    assert error(members(api, "ana", "patch", role="king")) == (400, "invalid")
