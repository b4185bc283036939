"""``manage.py register_instance NAME``: a new instance, and with ``--start`` its first machine."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from hibernation.domain.errors import DumontError
from hibernation.providers.registry import provider_names
from hibernation.services.instances import register_instance
from hibernation.services.requests import request_wake
from hibernation.services.teams import team_named

ACTOR = "command line"


class Command(BaseCommand):
    """Registers through the same door as everything else; ``--start`` asks for the first machine and returns."""

    help = "Register an instance: the lasting record of one workspace. --start rents its first machine."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("instance", help="its id, such as vast_12345")
        parser.add_argument("--provider", choices=provider_names(), default=provider_names()[0])
        parser.add_argument("--team", default="", help="whose it will be; without it, the default team's")
        parser.add_argument("--gpu-type", default="", help="such as 'RTX 3090'; without it, any")
        parser.add_argument("--region", default="", help="such as EU; without it, any")
        parser.add_argument("--max-price", type=_price, help="the most that a machine may cost, USD an hour")
        parser.add_argument("--image", default="", help="the image that its machines boot")
        parser.add_argument("--disk-gb", type=int, default=10)
        parser.add_argument("--idle-minutes", type=_duration, default=3.0, help="idle this long: hibernate")
        parser.add_argument("--start", action="store_true", help="rent the first machine now")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            register_instance(
                options["instance"],
                provider=options["provider"],
                actor=ACTOR,
                team=team_named(options["team"]),
                gpu_type=options["gpu_type"],
                region=options["region"],
                max_price=options["max_price"],
                image=options["image"],
                disk_gb=options["disk_gb"],
                pause_after=timedelta(minutes=options["idle_minutes"]),
            )
            if options["start"]:
                request_wake(options["instance"], actor=ACTOR, reason="first start")
        except DumontError as error:
            details = " ".join(f"{name}: {text}" for name, text in getattr(error, "fields", {}).items())
            raise CommandError(f"{error.message} {details}".strip()) from None
        self.stdout.write(f"{options['instance']} is registered.")


def _price(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ValueError(text) from None


def _duration(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e6:
        raise ValueError(text)
    return value
