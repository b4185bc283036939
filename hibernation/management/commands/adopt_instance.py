"""``manage.py adopt_instance CONTRACT``: take a rental under care that somebody made at the provider himself."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from hibernation.domain.errors import DumontError
from hibernation.providers.registry import provider_names
from hibernation.services.adopt import request_adoption
from hibernation.services.teams import team_named


class Command(BaseCommand):
    """Through the same door as the API; asks for the adoption and returns."""

    help = "Adopt a rented machine: attach our key, install the agent, hibernate it when it is idle."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("contract", help="the provider's id of the rental, such as 12345")
        parser.add_argument("--provider", choices=provider_names(), default=provider_names()[0])
        parser.add_argument("--name", default="", help="for people")
        parser.add_argument("--team", default="", help="whose it will be; without it, the default team's")
        parser.add_argument(
            "--may-be-destroyed",
            action="store_true",
            required=True,
            help="yes, a hibernation destroys this rental after it has saved and proven /workspace",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            operation = request_adoption(
                options["provider"],
                options["contract"],
                actor="command line",
                team=team_named(options["team"]),
                name=options["name"],
            )
        except DumontError as error:
            raise CommandError(error.message) from None
        self.stdout.write(f"{operation.instance_id} is being adopted by operation {operation.pk}.")
