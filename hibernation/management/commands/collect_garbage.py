"""``manage.py collect_garbage``: apply the rules of retention and delete what no snapshot needs, now."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Count, Sum

from hibernation.domain.errors import StoreError, no_instance
from hibernation.models import Instance
from hibernation.services.clock import db_now
from hibernation.services.collect import collect, garbage
from hibernation.services.retention import apply_rules, choice_for, retire
from hibernation.services.strays import delete_strays, strays

PATIENCE = timedelta(days=1)


class Command(BaseCommand):
    """The same as the hourly tick, to its end, with figures. ``--dry-run`` changes nothing."""

    help = "Delete the snapshots that no rule keeps, and from the store what no snapshot needs."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--instance", help="only this one's")
        parser.add_argument("--dry-run", action="store_true", help="only say what would be deleted")
        parser.add_argument(
            "--strays",
            action="store_true",
            help="also objects below our instances' names that the database does not know. Not with a bucket that "
            "another installation uses, and not after the database came from a back-up",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        name = options["instance"]
        if name is not None and not Instance.objects.filter(pk=name).exists():
            raise CommandError(no_instance(name).message)
        try:
            self._preview(name, options["strays"]) if options["dry_run"] else self._run(
                name, options["strays"]
            )
        except StoreError as error:
            raise CommandError(error.message) from None

    def _preview(self, name: str | None, with_strays: bool) -> None:
        for instance in Instance.objects.filter(**({} if name is None else {"pk": name})).order_by("pk"):
            reasons = choice_for(instance, db_now()).delete
            for snapshot in instance.snapshots.filter(pk__in=reasons).order_by("pk"):
                why = f"{reasons[snapshot.pk]}; and what only it needs"
                self.stdout.write(f"would delete snapshot {snapshot.name}: {why}")
        found = garbage(name).order_by("instance_id").values_list("instance_id")
        for instance_id, count, size in found.annotate(Count("pk"), Sum("size")):
            self.stdout.write(f"would delete of {instance_id}: {_figures(count, size)}")
        for one in strays(name) if with_strays else ():
            self.stdout.write(f"would delete stray {one.key}: {one.size} bytes")

    def _run(self, name: str | None, with_strays: bool) -> None:
        retired = apply_rules() if name is None else len(retire(name))
        done = collect(name, patience=PATIENCE)
        self.stdout.write(f"deleted snapshots: {retired}")
        self.stdout.write(f"deleted: {_figures(done.objects, done.bytes)}")
        if with_strays:
            gone = delete_strays(name)
            self.stdout.write(f"deleted strays: {_figures(len(gone), sum(one.size for one in gone))}")
        if done.failed:
            raise CommandError(
                f"{len(done.failed)} objects stay condemned and are tried again: {done.failed[0]}"
            )


def _figures(objects: int, size: int) -> str:
    return f"{objects} objects, {size / 1e6:.1f} MB ({size} bytes)"
