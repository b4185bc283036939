"""``manage.py drill_snapshot NAME``: restore a snapshot for real, into a folder here, and compare every byte."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from hibernation.box.jobs import JobProgress
from hibernation.domain.errors import DumontError
from hibernation.models import Snapshot
from hibernation.services.browse import find_snapshot, shown
from hibernation.services.drill import Drill, drill

_SHOWN = 20


class Command(BaseCommand):
    """Exit code 1 if anything differs or nothing could be restored. Touches neither rows nor stored objects."""

    help = "Restore a snapshot into a temporary folder with the agent's own thaw and compare it with what was saved."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="the snapshot")
        parser.add_argument("--into", type=Path, help="an existing folder with room for the workspace")
        parser.add_argument("--keep", action="store_true", help="leave the restored workspace there")

    def handle(self, *args: Any, **options: Any) -> None:
        into = options["into"]
        if into is not None and not into.is_dir():
            raise CommandError(f"{into} is no folder.")
        home = Path(tempfile.mkdtemp(prefix="dumont-drill-", dir=into)).absolute()
        try:
            done = drill(_find(options["name"]), home, self._progress)
        except DumontError as error:
            raise CommandError(error.message) from None
        finally:
            if not options["keep"]:
                shutil.rmtree(home, onerror=_make_removable)
        self._tell(done)
        if options["keep"]:
            self.stdout.write(f"restored in  {home / 'workspace'}")
        if done.compared.differences:
            raise CommandError(f"{len(done.compared.differences)} differences.")

    def _tell(self, done: Drill) -> None:
        compared = done.compared
        self.stdout.write(f"files        {compared.files}")
        self.stdout.write(f"bytes        {compared.bytes}")
        for name, seconds in (("restored", done.thaw_seconds), ("compared", done.compare_seconds)):
            self.stdout.write(
                f"{name}     {seconds:.1f} s, {compared.bytes / 1e6 / max(seconds, 1e-3):.0f} MB/s"
            )
        self.stdout.write(f"differences  {len(compared.differences)}")
        for path, what in compared.differences[:_SHOWN]:
            self.stdout.write(f"  {shown(path) or 'the workspace'} {what}")

    def _progress(self, seen: JobProgress) -> None:
        if sys.stderr.isatty():
            done, total = seen.bytes_done / 1e6, seen.bytes_total / 1e6
            self.stderr.write(f"\r{seen.phase}: {done:.0f} of {total:.0f} MB  ", ending="")


def _find(name: str) -> Snapshot:
    owner = Snapshot.objects.filter(name=name).values_list("instance_id", flat=True).first()
    if owner is None:
        raise CommandError(f"There is no snapshot {name!r}.")
    return find_snapshot(owner, name)


def _make_removable(remove: Any, path: str, failure: Any) -> None:
    """A restored directory may forbid to change it, also to its owner."""
    Path(path).parent.chmod(0o700)
    if Path(path).is_dir():
        Path(path).chmod(0o700)
        shutil.rmtree(path)
    else:
        remove(path)
