"""``manage.py sync_schedules``: put the entries of beat right that are made from schedules."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from hibernation.services.schedules import sync_schedules


class Command(BaseCommand):
    """Says what it repaired. Repeatable; it also runs by itself every ``DUMONT_COLLECT_SECONDS``."""

    help = "Repair entries of beat that are missing, stray or edited, and the next times of schedules."

    def handle(self, *args: Any, **options: Any) -> None:
        repairs = sync_schedules()
        for repair in repairs:
            self.stdout.write(repair)
        self.stdout.write(f"{len(repairs)} repaired." if repairs else "All entries are as they should be.")
