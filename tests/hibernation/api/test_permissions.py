"""Whose instances one sees and what one may do there: by the role in the team and the scope of the token."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from hibernation.domain.access import Role, Scope
from hibernation.models import Operation, Team
from hibernation.services.tokens import create_api_token
from tests.factories import make_user
from tests.hibernation.services.world import World

pytestmark = pytest.mark.django_db


def session(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def by_token(user: User, scope: Scope = Scope.ADMIN, team: Team | None = None) -> Client:
    raw = create_api_token(user, "t", scope=scope, team=team)
    return Client(headers={"Authorization": f"Bearer {raw}"})


def test_who_may_only_look_gives_no_order(world: World) -> None:
    instance = world.awake()
    client = session(make_user(role=Role.VIEWER))
    assert client.get(f"/api/instances/{instance.pk}/status").status_code == 200
    refused = client.post(f"/api/instances/{instance.pk}/hibernate")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "permission_denied")
    hook = {"post_wake_hook": "id"}
    assert client.put(f"/api/instances/{instance.pk}/config", hook, "application/json").status_code == 403
    assert client.delete(f"/api/instances/{instance.pk}?leave_machine=true").status_code == 403
    assert not Operation.objects.exists()


def test_a_member_orders_by_session_and_by_token(world: World) -> None:
    instance, user = world.awake(), make_user(role=Role.MEMBER)
    assert session(user).post(f"/api/instances/{instance.pk}/hibernate").status_code == 202
    assert by_token(user).post(f"/api/instances/{instance.pk}/hibernate").status_code == 202


def test_a_tokens_scope_limits_an_owner(world: World) -> None:
    instance, user = world.awake(), make_user(role=Role.OWNER)
    reader, operator = by_token(user, Scope.READ), by_token(user, Scope.OPERATE)
    assert reader.get(f"/api/instances/{instance.pk}").status_code == 200
    assert reader.post(f"/api/instances/{instance.pk}/hibernate").status_code == 403
    assert operator.delete(f"/api/instances/{instance.pk}?leave_machine=true").status_code == 403
    assert operator.post(f"/api/instances/{instance.pk}/hibernate").status_code == 202


def test_permissions_of_the_console_give_nothing_over_the_api(world: World) -> None:
    instance, user = world.awake(), make_user(role=None)
    user.user_permissions.set(Permission.objects.filter(codename="change_instance"))
    assert session(user).get("/api/instances").json()["instances"] == []
    assert session(user).get(f"/api/instances/{instance.pk}").status_code == 404


def test_one_teams_token_knows_of_no_other(world: World) -> None:
    instance, user = world.awake(), make_user(role=Role.OWNER)
    other = Team.objects.create(name="other")
    other.memberships.create(user=user, role=Role.OWNER)
    client = by_token(user, team=other)
    assert client.get("/api/instances").json()["instances"] == []
    assert client.get(f"/api/instances/{instance.pk}").status_code == 404


def test_who_left_a_team_sees_nothing_of_it(world: World, api: Client) -> None:
    instance = world.awake()
    assert api.get(f"/api/instances/{instance.pk}").status_code == 200
    instance.team.memberships.all().delete()
    assert api.get(f"/api/instances/{instance.pk}").status_code == 404


def test_who_is_an_owner_elsewhere_is_no_more_than_a_viewer_here(world: World) -> None:
    instance, user = world.awake(), make_user(role=Role.VIEWER)
    Team.objects.create(name="other").memberships.create(user=user, role=Role.OWNER)
    assert session(user).post(f"/api/instances/{instance.pk}/hibernate").status_code == 403


def test_nobody_in_particular_does_nothing(world: World) -> None:
    instance = world.awake()
    assert Client().post(f"/api/instances/{instance.pk}/hibernate").status_code == 401


def test_a_root_user_is_in_the_default_team(world: World) -> None:
    instance = world.awake()
    client = session(User.objects.create_superuser("root"))
    assert client.get(f"/api/instances/{instance.pk}").status_code == 200
