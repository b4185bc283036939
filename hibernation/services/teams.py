"""Who is in which team, and as what. A team that has people has an owner among them."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser
from django.db import transaction

from hibernation.domain.access import Role
from hibernation.domain.errors import Conflict, InvalidRequest, NotFound
from hibernation.domain.states import EventType
from hibernation.models import Instance, Membership, Team
from hibernation.services.clock import db_now
from hibernation.services.requests import lock_instance
from hibernation.services.transitions import emit

DEFAULT_TEAM = "default"


def default_team() -> Team:
    """Whose is what no person asked for over the API: what the command line registers, for one."""
    return Team.objects.get_or_create(name=DEFAULT_TEAM)[0]


def team_named(name: str) -> Team:
    """``NotFound`` for one that nobody made. An empty name is the default one's."""
    if not name:
        return default_team()
    team = Team.objects.filter(name=name).first()
    if team is None:
        raise NotFound(f"There is no team {name!r}; the console makes one.")
    return team


def ensure_team(user: AbstractBaseUser, role: Role = Role.OWNER) -> None:
    """A user in no team joins the default one. Repeatable."""
    if not Membership.objects.filter(user=user.pk).exists():
        Membership.objects.get_or_create(user_id=user.pk, team=default_team(), defaults={"role": role})


def welcome_superuser(instance: Any, update_fields: Any = None, raw: bool = False, **_: Any) -> None:
    """A signal's receiver: whoever may do everything in the console finds something over the API, too."""
    if instance.is_superuser and not raw and (update_fields is None or "is_superuser" in update_fields):
        ensure_team(instance)


def members_of(team_id: int) -> list[Membership]:
    """By the time they joined."""
    return list(Membership.objects.filter(team=team_id).select_related("user").order_by("pk"))


@transaction.atomic
def add_member(team_id: int, username: str, role: Role, *, actor: str) -> Membership:
    """Let a user in. ``InvalidRequest`` for nobody we know, ``Conflict`` for one who is in it already."""
    team = _lock(team_id)
    users = get_user_model()
    user = users._default_manager.filter(**{users.USERNAME_FIELD: username}, is_active=True).first()
    if user is None:
        raise InvalidRequest("Some fields are not valid.", {"user": f"There is no user {username!r}."})
    if team.memberships.filter(user=user.pk).exists():
        raise Conflict(f"{username} is in this team already.")
    row = Membership.objects.create(team=team, user=user, role=role)
    _tell(f"{username} joined {team} as {role}", actor)
    return row


@transaction.atomic
def change_role(team_id: int, username: str, role: Role, *, actor: str) -> Membership:
    """``NotFound`` for nobody in it; ``Conflict`` for its last owner."""
    team = _lock(team_id)
    row = _membership(team, username)
    if row.role != role:
        _keep_an_owner(team, row)
        row.role = role
        row.save(update_fields=["role"])
        _tell(f"{username} is now {role} in {team}", actor)
    return row


@transaction.atomic
def remove_member(team_id: int, username: str, *, actor: str) -> None:
    """His tokens see nothing of it from now on. ``NotFound``; ``Conflict`` for its last owner."""
    team = _lock(team_id)
    row = _membership(team, username)
    _keep_an_owner(team, row)
    row.delete()
    _tell(f"{username} left {team}", actor)


@transaction.atomic
def move_instance(instance_id: str, team_id: int, *, actor: str) -> Instance:
    """Give it, with its copies and its history, to another team. Repeatable. ``NotFound``."""
    instance, team = lock_instance(instance_id), _lock(team_id)
    if instance.team_id != team.pk:
        told = f"given by {instance.team} to {team}"
        instance.team = team
        instance.save(update_fields=["team"])
        emit(EventType.CONFIG_CHANGED, told, instance=instance, now=db_now(), actor=actor)
    return instance


def _lock(team_id: int) -> Team:
    """Of two who leave at once, one is the last owner."""
    team = Team.objects.select_for_update(no_key=True, of=("self",)).filter(pk=team_id).first()
    if team is None:
        raise NotFound(f"There is no team {team_id}.")
    return team


def _membership(team: Team, username: str) -> Membership:
    field = f"user__{get_user_model().USERNAME_FIELD}"
    known = "\0" not in username
    row = team.memberships.select_related("user").filter(**{field: username}).first() if known else None
    if row is None:
        raise NotFound(f"There is nobody named {username!r} in this team.")
    return row


def _keep_an_owner(team: Team, leaving: Membership) -> None:
    others = team.memberships.filter(role=Role.OWNER, user__is_active=True).exclude(pk=leaving.pk)
    if leaving.role == Role.OWNER and not others.exists():
        raise Conflict("A team keeps an owner: make somebody else one first.")


def _tell(what: str, actor: str) -> None:
    emit(EventType.CONFIG_CHANGED, what, instance=None, now=db_now(), actor=actor)
