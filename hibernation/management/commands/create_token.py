"""``manage.py create_token --user NAME``: a new API token for a person or a script."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser
from django.core.management.base import BaseCommand, CommandError, CommandParser

from hibernation.domain.access import Scope
from hibernation.domain.errors import NotFound
from hibernation.models import Team
from hibernation.services.teams import ensure_team, team_named
from hibernation.services.tokens import create_api_token


class Command(BaseCommand):
    """Prints the token, this once: only its hash is kept. The user must exist.

    A token that sees nothing would be of no use: a user in no team joins the default one as an owner.
    """

    help = "Make an API token for a user and print it. It is shown only now: only its hash is kept."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--user", required=True, help="name of an existing user, whom the token acts as")
        parser.add_argument("--name", default="command line", help="what the token is for")
        parser.add_argument("--days", type=float, help="how long it lives; without it, until it is revoked")

        parser.add_argument(
            "--team", default="", help="good for this one only; without it, for all of the user's"
        )
        parser.add_argument(
            "--scope",
            choices=[scope.value for scope in Scope],
            default=Scope.ADMIN.value,
            help="what it may do",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        users = get_user_model()
        user = users._default_manager.filter(**{users.USERNAME_FIELD: options["user"]}).first()
        if user is None:
            raise CommandError(f"There is no user {options['user']!r}; manage.py createsuperuser makes one.")
        if options["days"] is not None and options["days"] <= 0:
            raise CommandError("--days must be more than 0.")
        lifetime = None if options["days"] is None else timedelta(days=options["days"])
        team = _team(user, options["team"])
        scope = Scope(options["scope"])
        self.stdout.write(create_api_token(user, options["name"], lifetime, scope=scope, team=team))


def _team(user: AbstractBaseUser, name: str) -> Team | None:
    if not name:
        ensure_team(user)
        return None
    try:
        team = team_named(name)
    except NotFound as error:
        raise CommandError(error.message) from None
    if not team.memberships.filter(user=user.pk).exists():
        raise CommandError(f"{user} is not in the team {name!r}.")
    return team
