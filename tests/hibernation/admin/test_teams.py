"""Teams in the console: people in and out, and an instance that changes hands."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin.utils import quote
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from hibernation.models import Event, Membership, Team
from hibernation.services.teams import default_team
from tests.factories import make_instance, make_user
from tests.hibernation.admin.pages import listed, page_of, text_of

pytestmark = pytest.mark.django_db
TEAMS = listed("team")


def form(**more: Any) -> dict[str, Any]:
    counts = {
        f"{prefix}-{name}_FORMS": number
        for prefix, total in (("memberships", "0"), ("memberships-2", "1"))
        for name, number in (("TOTAL", total), ("INITIAL", "0"))
    }
    return {"name": "research"} | counts | {f"memberships-2-0-{name}": value for name, value in more.items()}


def move_of(instance: Any) -> str:
    return reverse("admin:hibernation_instance_team", args=[quote(instance.pk)])


def test_a_team_is_made_with_its_people(root: Client) -> None:
    eva = make_user("eva", role=None)
    root.post(f"{TEAMS}add/", form(user=eva.pk, role="owner"))
    assert Membership.objects.values_list("team__name", "user", "role").get(user=eva) == (
        "research",
        eva.pk,
        "owner",
    )
    assert "research 1 0" in text_of(root.get(TEAMS))


def test_a_team_that_has_instances_stays(root: Client) -> None:
    team = make_instance(team=Team.objects.create(name="research")).team
    told = text_of(root.post(f"{TEAMS}{team.pk}/delete/", {"post": "yes"}))
    assert "Cannot delete team" in told
    assert Team.objects.filter(pk=team.pk).exists()


def test_an_empty_team_can_be_deleted(root: Client) -> None:
    team = Team.objects.create(name="research")
    root.post(f"{TEAMS}{team.pk}/delete/", {"post": "yes"})
    assert not Team.objects.filter(pk=team.pk).exists()


def test_a_teams_page_asks_no_more_often_for_more_people(root: Client) -> None:
    def asked() -> int:
        with CaptureQueriesContext(connection) as seen:
            assert root.get(f"{TEAMS}{default_team().pk}/change/").status_code == 200
        return len(seen)

    asked()
    make_user("first")
    few = asked()
    for number in range(20):
        make_user(f"user{number}")
    assert asked() == few


def test_an_instance_is_given_to_another_team_and_the_event_says_so(root: Client) -> None:
    instance, research = make_instance(), Team.objects.create(name="research")
    assert "default loses it" in text_of(root.get(move_of(instance)))
    assert instance.team == default_team()
    for _ in range(2):
        assert "research's" in text_of(root.post(move_of(instance), {"team": research.pk}, follow=True))
    instance.refresh_from_db()
    assert instance.team == research
    event = Event.objects.get()
    assert (event.reason, event.actor) == ("given by default to research", "user:root")


def test_who_may_only_look_gives_nothing_away(guest: Client, root: Client) -> None:
    instance, research = make_instance(), Team.objects.create(name="research")
    assert guest.post(move_of(instance), {"team": research.pk}).status_code == 403
    assert guest.post(f"{TEAMS}{research.pk}/change/", form()).status_code == 403
    assert move_of(instance) in root.get(page_of(instance)).content.decode()
    assert move_of(instance) not in guest.get(page_of(instance)).content.decode()
    assert make_instance().team == default_team()


def test_an_instance_that_does_not_exist_is_given_to_nobody(root: Client) -> None:
    assert root.get("/admin/hibernation/instance/nobody/team/").status_code == 404


def test_a_user_who_becomes_root_joins_the_default_team(db: None) -> None:
    user = User.objects.create_user("ana")
    assert not Membership.objects.exists()
    user.is_superuser = True
    user.save()
    user.save()
    assert Membership.objects.get().team == default_team()


def test_a_root_user_who_is_in_a_team_stays_there(db: None) -> None:
    user = make_user(team=Team.objects.create(name="research"))
    user.is_superuser = True
    user.save()
    assert Membership.objects.get().team.name == "research"
