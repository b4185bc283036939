"""``manage.py verify_snapshot``: prove stored snapshots again and say what is lost with what is not right."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from hibernation.domain.errors import DumontError
from hibernation.domain.states import SnapshotState
from hibernation.models import Snapshot
from hibernation.services.reproving import Verdict, reprove

_SHOWN_FILES = 10


class Command(BaseCommand):
    """Exit code 1 if anything is damaged or could not be proven. Safe at any time; writes only what was found."""

    help = (
        "Prove snapshots again: every pack present with the right size and bytes, a sample of them decoded "
        "(--full: all read back and decoded). Prints what is damaged and which files need it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("name", nargs="?", help="one snapshot")
        which.add_argument("--instance", help="all proven snapshots of an instance")
        which.add_argument("--all", action="store_true", help="all proven snapshots")
        parser.add_argument("--full", action="store_true", help="read back and decode everything")
        parser.add_argument("--json", action="store_true", help="one line of JSON for each snapshot")

    def handle(self, *args: Any, **options: Any) -> None:
        snapshots = list(_chosen(options))
        if not snapshots:
            raise CommandError("There is no such snapshot that was proven before.")
        bad = 0
        for snapshot in snapshots:
            verdict = self._prove(snapshot, options)
            bad += not verdict.good
            self.stdout.write(json.dumps(verdict.as_dict()) if options["json"] else _told(verdict))
        if bad:
            raise CommandError(f"{bad} of {len(snapshots)} snapshots could not be proven.")

    def _prove(self, snapshot: Snapshot, options: dict[str, Any]) -> Verdict:
        try:
            return reprove(
                snapshot, secrets.token_bytes(32), everything=options["full"], progress=self._progress
            )
        except DumontError as error:
            return Verdict(snapshot.name, error=error.message)

    def _progress(self, name: str, done: int, total: int) -> None:
        """One line that is written over, for people who watch."""
        if sys.stderr.isatty():
            end = "\n" if done == total else ""
            self.stderr.write(f"\r{name}: {done / 1e6:.0f} of {total / 1e6:.0f} MB", ending=end)


def _chosen(options: dict[str, Any]) -> Iterator[Snapshot]:
    proven = Snapshot.objects.filter(state=SnapshotState.VERIFIED).select_related("key").order_by("pk")
    if options["instance"]:
        proven = proven.filter(instance=options["instance"])
    elif options["name"]:
        proven = proven.filter(name=options["name"])
    yield from proven


def _told(verdict: Verdict) -> str:
    if verdict.error:
        return f"? {verdict.name}: {verdict.error}"
    if verdict.good:
        facts = "{packs} packs, {attested} attested by the store, {read_back} read back, {decoded} decoded"
        return f"✓ {verdict.name}: {facts.format(**verdict.summary)}"
    lines = [f"✗ {verdict.name}: {len(verdict.damage)} damaged"]
    for damage in verdict.damage:
        lines.append(f"  {damage.why}")
        lines += [f"    {path}" for path in damage.files[:_SHOWN_FILES]]
        if len(damage.files) > _SHOWN_FILES:
            lines.append(f"    … and {len(damage.files) - _SHOWN_FILES} more files")
    return "\n".join(lines)
