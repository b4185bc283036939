"""Tokens: the secret is in one answer and nowhere else."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.models import Session
from django.test import Client

from hibernation.models import ApiToken, Event, Team
from hibernation.services.tokens import create_api_token, find_api_token
from tests.hibernation.admin.pages import listed, text_of

pytestmark = pytest.mark.django_db
TOKENS = listed("apitoken")


def made(reply: Any) -> str:
    return next(word for word in text_of(reply).split() if word.startswith("dmt_"))


def revoke(client: Client, token: ApiToken, **more: str) -> Any:
    return client.post(TOKENS, {"action": "revoke", "_selected_action": [token.pk], **more}, follow=True)


def test_a_token_is_shown_once_and_works(root: Client) -> None:
    reply = root.post(
        f"{TOKENS}add/", {"name": "ci", "days": "30", "scope": "read", "user": User.objects.get().pk}
    )
    secret = made(reply)
    token = find_api_token(secret)
    assert token is not None
    assert (token.name, token.prefix, token.user.username) == ("ci", secret[:8], "root")
    assert (token.scope, token.team) == ("read", None)
    assert token.expires_at is not None
    assert token.expires_at - token.created_at == timedelta(days=30)
    assert "no-store" in reply["Cache-Control"]


def test_the_secret_is_nowhere_afterwards(root: Client) -> None:
    secret = made(root.post(f"{TOKENS}add/", {"name": "ci", "scope": "read", "user": User.objects.get().pk}))
    for path in (TOKENS, f"{TOKENS}{ApiToken.objects.get().pk}/change/", f"{TOKENS}add/", "/admin/"):
        assert secret not in root.get(path).content.decode()
    assert not any(secret in str(row.get_decoded()) for row in Session.objects.all())
    assert all(secret not in morsel.value for morsel in root.cookies.values())
    assert secret[:8] in text_of(root.get(TOKENS))


def test_a_token_without_a_name_is_not_made(root: Client) -> None:
    assert "This field is required" in text_of(root.post(f"{TOKENS}add/", {"name": ""}))
    assert not ApiToken.objects.exists()


def test_who_is_no_root_makes_tokens_for_themselves_only(
    root: Client, guest: Client, guest_user: User
) -> None:
    guest_user.user_permissions.add(Permission.objects.get(codename="add_apitoken"))
    other = User.objects.get(username="root")
    guest.post(f"{TOKENS}add/", {"name": "mine", "scope": "read", "user": other.pk})
    assert ApiToken.objects.get().user == guest_user


def test_a_token_is_revoked_once_that_is_confirmed(root: Client) -> None:
    secret = create_api_token(User.objects.get(), "ci")
    token = ApiToken.objects.get()
    assert "refused from now on" in text_of(revoke(root, token))
    assert find_api_token(secret) is not None
    revoke(root, token, confirmed="yes")
    assert find_api_token(secret) is None
    assert "revoked" in text_of(root.get(TOKENS))
    assert (Event.objects.get().event_type, Event.objects.get().actor) == ("config_changed", "user:root")
    revoke(root, token, confirmed="yes")
    assert Event.objects.count() == 1


def test_one_that_has_expired_says_so(root: Client) -> None:
    create_api_token(User.objects.get(), "ci", timedelta(seconds=-1))
    assert "expired" in text_of(root.get(TOKENS))


def test_who_may_only_look_neither_makes_nor_revokes(guest: Client, guest_user: User) -> None:
    create_api_token(guest_user, "ci")
    assert guest.post(f"{TOKENS}add/", {"name": "x"}).status_code == 403
    revoke(guest, ApiToken.objects.get(), confirmed="yes")
    assert ApiToken.objects.get().revoked_at is None


def test_one_for_a_team_is_shown_as_such(root: Client) -> None:
    team = Team.objects.create(name="research")
    wish = {"name": "ci", "scope": "operate", "team": team.pk, "user": User.objects.get().pk}
    token = find_api_token(made(root.post(f"{TOKENS}add/", wish)))
    assert token is not None
    assert (token.scope, token.team) == ("operate", team)
    assert "operate research" in text_of(root.get(TOKENS))


def test_who_is_no_root_chooses_among_his_own_teams(guest: Client, guest_user: User) -> None:
    guest_user.user_permissions.add(Permission.objects.get(codename="add_apitoken"))
    theirs = Team.objects.create(name="theirs")
    assert "theirs" not in text_of(guest.get(f"{TOKENS}add/"))
    guest.post(f"{TOKENS}add/", {"name": "x", "scope": "admin", "team": theirs.pk})
    assert not ApiToken.objects.exists()
