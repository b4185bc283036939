"""The one place that says which rows a caller sees and what he may do to them; the API and its dashboards ask here.

What is another team's does not exist for him: the same sentence, and nothing else, as for what never was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from django.contrib.auth.models import AbstractBaseUser
from django.db.models import Model, QuerySet

from hibernation.domain.access import OF_NEED, OF_SCOPE, Need, Right, Role, Scope, right_of
from hibernation.domain.errors import DumontError, InvalidRequest, NotFound, no_instance
from hibernation.models import (
    ApiToken,
    Instance,
    Machine,
    Membership,
    Operation,
    Pack,
    Schedule,
    Snapshot,
    Team,
)

T = TypeVar("T")
Rows = TypeVar("Rows", bound=Model)


class NotAllowed(DumontError):
    """Your role in this team, or your token's scope, does not allow this."""

    code = "permission_denied"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: a user, by session or within the limits of ``token``.

    ``rights``: what he may in each of his teams, by its id, in the order in which he joined them.
    """

    user: AbstractBaseUser
    token: ApiToken | None
    rights: Mapping[int, Right]

    @property
    def limit(self) -> Right:
        """The most that the way he asks allows, whatever his roles."""
        return Right.ADMIN if self.token is None else OF_SCOPE[Scope(self.token.scope)]

    def may(self, need: Need, team_id: int | None = None) -> bool:
        """Whether this is allowed in the team, or, where none is named, in any; everybody may look at his own."""
        if need is Need.OWN:
            return self.limit is Right.ADMIN
        if need not in OF_NEED:
            return need is Need.PUBLIC
        if team_id is None:
            return max(self.rights.values(), default=Right.READ) >= OF_NEED[need]
        return team_id in self.rights and self.rights[team_id] >= OF_NEED[need]


def caller_of(user: AbstractBaseUser, token: ApiToken | None = None) -> Caller:
    """What the user's memberships give him now, and his token leaves of it."""
    scope = Scope.ADMIN if token is None else Scope(token.scope)
    roles = Membership.objects.filter(user=user.pk).order_by("pk")
    if token is not None and token.team_id is not None:
        roles = roles.filter(team=token.team_id)
    return Caller(
        user, token, {team: right_of(Role(role), scope) for team, role in roles.values_list("team", "role")}
    )


def visible_instances(caller: Caller) -> QuerySet[Instance]:
    return Instance.objects.filter(team__in=list(caller.rights))


def visible_operations(caller: Caller) -> QuerySet[Operation]:
    return _of_his_instances(Operation.objects.all(), caller)


def visible_machines(caller: Caller) -> QuerySet[Machine]:
    return _of_his_instances(Machine.objects.all(), caller)


def visible_snapshots(caller: Caller) -> QuerySet[Snapshot]:
    return _of_his_instances(Snapshot.objects.all(), caller)


def visible_packs(caller: Caller) -> QuerySet[Pack]:
    return _of_his_instances(Pack.objects.all(), caller)


def visible_schedules(caller: Caller) -> QuerySet[Schedule]:
    return _of_his_instances(Schedule.objects.all(), caller)


def visible_teams(caller: Caller) -> QuerySet[Team]:
    return Team.objects.filter(pk__in=list(caller.rights))


def memberships_of(caller: Caller) -> QuerySet[Membership]:
    """His own, with their teams, in the order in which he joined."""
    mine = Membership.objects.filter(user=caller.user.pk, team__in=list(caller.rights))
    return mine.select_related("team").order_by("pk")


def visible_tokens(caller: Caller) -> QuerySet[ApiToken]:
    """His own. One that is good for one team only knows of no other."""
    own = ApiToken.objects.filter(user=caller.user.pk)
    return own.filter(team=caller.token.team_id) if caller.token and caller.token.team_id else own


def team_of_instance(caller: Caller, instance_id: str) -> int:
    """Whose it is, or ``NotFound``."""
    return _only(_named(caller, instance_id).values_list("team", flat=True), no_instance(instance_id))


def find_instance(caller: Caller, instance_id: str) -> Instance:
    """With its last copy; or ``NotFound``."""
    return _only(_named(caller, instance_id).select_related("snapshot"), no_instance(instance_id))


def team_of_operation(caller: Caller, operation_id: str) -> int:
    """Whose it is, or ``NotFound``."""
    found = visible_operations(caller).filter(pk=int(operation_id)).values_list("instance__team", flat=True)
    return _only(found, NotFound(f"There is no operation {operation_id}."))


def team_of_team(caller: Caller, team_id: str) -> int:
    """Itself, or ``NotFound``."""
    if int(team_id) not in caller.rights:
        raise NotFound(f"There is no team {team_id}.")
    return int(team_id)


def team_for_new(caller: Caller, name: str | None) -> Team:
    """Whose what he takes in will be: the team he names, or the first in which he may. ``NotAllowed`` if none is."""
    named = None if name is None else team_named(caller, name)
    for key, right in caller.rights.items():
        if right is Right.ADMIN and (named is None or key == named.pk):
            return named or visible_teams(caller).get(pk=key)
    raise NotAllowed()


def team_named(caller: Caller, name: str) -> Team:
    """One of his, or ``InvalidRequest`` for the field ``team``."""
    team = visible_teams(caller).filter(name=name).first()
    if team is None:
        raise InvalidRequest("Some fields are not valid.", {"team": f"There is no team {name!r}."})
    return team


def _of_his_instances(rows: QuerySet[Rows], caller: Caller) -> QuerySet[Rows]:
    return rows.filter(instance__team__in=list(caller.rights))


def _named(caller: Caller, instance_id: str) -> QuerySet[Instance]:
    """PostgreSQL takes no text with a NUL."""
    return (
        visible_instances(caller).filter(pk=instance_id)
        if "\0" not in instance_id
        else Instance.objects.none()
    )


def _only(rows: Iterable[T], otherwise: NotFound) -> T:
    for row in rows:
        return row
    raise otherwise
