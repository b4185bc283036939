"""``manage.py forget_machine``: give up a machine that cannot be saved any more, with the work on it."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from hibernation.domain.errors import DumontError
from hibernation.services.forget import forget_machine


class Command(BaseCommand):
    """Refuses without ``--discard-work``, and refuses machines that still report."""

    help = (
        "End the rental of a machine that stands still or cannot be reached, without saving it. "
        "What was written since the last proven copy of its workspace is lost."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("contract_id", help="the provider's id of the rental")
        parser.add_argument(
            "--discard-work", action="store_true", help="yes, what was not saved is to be lost"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not options["discard_work"]:
            raise CommandError("What was not saved would be lost: say --discard-work if that is meant.")
        try:
            machine = forget_machine(options["contract_id"], actor="command line")
        except DumontError as error:
            raise CommandError(error.message) from None
        self.stdout.write(f"The rental {machine} is being ended.")
