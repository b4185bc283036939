"""``manage.py rotate_keys``: wrap every workspace's data key by the first of ``DUMONT_ENCRYPTION_KEYS``."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from hibernation.services.keys import KeyUnavailable, fingerprint, rewrap_all


class Command(BaseCommand):
    """Rows change, packs do not. Repeatable; after a failure the keys before it stay wrapped anew."""

    help = "Wrap every workspace's data key by the first of DUMONT_ENCRYPTION_KEYS. No pack is touched."

    def handle(self, *args: Any, **options: Any) -> None:
        first, *others = (fingerprint(key) for key in settings.DUMONT_ENCRYPTION_KEYS)
        try:
            done = rewrap_all()
        except KeyUnavailable as error:
            raise CommandError(error.message) from None
        self.stdout.write(f"{done} data keys were wrapped anew; the key {first} wraps all of them.")
        for other in dict.fromkeys(others):
            self.stdout.write(
                f"The key {other} wraps none any more. Remove it from DUMONT_ENCRYPTION_KEYS when every process has "
                "been started with the present list and this command says 0 once more; keep it for as long as "
                "back-ups of the database from before now are kept."
            )
