"""The upgrade to teams: what there was is one team's, and who could order then owns it."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

_Node = tuple[str, str]


@pytest.fixture
def newest() -> Any:
    """The tables are as the code wants them again, whatever the test did."""
    yield
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes())


def migrate(to: _Node) -> Any:
    executor = MigrationExecutor(connection)
    executor.migrate([to])
    return MigrationExecutor(connection).loader.project_state([to]).apps


def nodes() -> tuple[_Node, _Node]:
    """The migration before the one to teams, and that one."""
    graph = MigrationExecutor(connection).loader.graph
    [teams] = [node for node in graph.nodes if node[0] == "hibernation" and node[1].endswith("_teams")]
    [before] = [parent.key for parent in graph.node_map[teams].parents if parent.key[0] == "hibernation"]
    return before, teams


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("newest")
def test_what_there_was_is_one_teams_and_who_could_order_owns_it() -> None:
    from django.utils.timezone import now

    before, teams = nodes()
    old = migrate(before)
    ana = User.objects.create_user("ana")
    boss, watcher, gone = User.objects.bulk_create(
        [
            User(username="boss", is_superuser=True),
            User(username="watcher", is_staff=True),
            User(username="gone", is_superuser=True, is_active=False),
        ]
    )
    old.get_model("hibernation", "Instance").objects.create(
        id="vast_1", provider="vast", status_changed_at=now(), created_at=now()
    )
    old.get_model("hibernation", "Enrolment").objects.create(
        digest="d", provider="vast", actor="user:ana", created_at=now(), expires_at=now()
    )
    old.get_model("hibernation", "ApiToken").objects.create(
        user_id=ana.pk, name="t", digest="d", created_at=now()
    )
    new = migrate(teams)
    team = new.get_model("hibernation", "Team").objects.get()
    assert team.name == "default"
    assert new.get_model("hibernation", "Instance").objects.get().team_id == team.pk
    assert new.get_model("hibernation", "Enrolment").objects.get().team_id == team.pk
    token = new.get_model("hibernation", "ApiToken").objects.get()
    assert (token.scope, token.team_id) == ("admin", None)
    members = new.get_model("hibernation", "Membership").objects.values_list("user_id", "team_id", "role")
    roles = {ana: "owner", boss: "owner", watcher: "viewer", gone: "viewer"}
    assert set(members) == {(user.pk, team.pk, role) for user, role in roles.items()}


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("newest")
def test_an_empty_installation_gets_no_team() -> None:
    before, teams = nodes()
    migrate(before)
    assert not migrate(teams).get_model("hibernation", "Team").objects.exists()
