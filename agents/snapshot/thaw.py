"""Thaw: fill a workspace from a proven manifest. What work needs first comes first; what is there already is kept.

A killed thaw goes on where it stopped, and never touches again a file that it had finished: from «usable» on, the
user may have changed it.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from agents.snapshot.catalog import Kept
from agents.snapshot.errors import ManifestInvalid
from agents.snapshot.fill import fill
from agents.snapshot.format import (
    MAX_MANIFEST_STORED,
    DirRow,
    Manifest,
    file_tier,
)
from agents.snapshot.journal import Journal, journal_path
from agents.snapshot.manifest import check_refs, check_size, count, read_frame, unseal_manifest
from agents.snapshot.model_cache import fetch_command
from agents.snapshot.pipeline import closed_after
from agents.snapshot.place import Place
from agents.snapshot.progress import Progress, utc_now, write_atomically
from agents.snapshot.resume import Work, begin_journal, keep_finished
from agents.snapshot.rules import RuleBook
from agents.snapshot.spec import ThawSpec
from agents.snapshot.state import save_restored
from agents.snapshot.transfer import Transfer
from agents.snapshot.walk import own_paths

_REPORTED = 200


def thaw(spec: ThawSpec, job_dir: Path, progress: Progress, transfer: Transfer) -> dict[str, Any]:
    """Restore the snapshot and return the job's result. Nothing is written unless the manifest is the proven one.

    Raises ``SnapshotError`` or ``OSError``. Safe to repeat. Files that the manifest does not list stay as they are.
    """
    progress.set(phase="manifest")
    progress.follow(lambda: transfer.moved)
    manifest, frame = _fetch_manifest(spec, transfer)
    place, journal = Place(spec.workspace), Journal(job_dir / "journal")
    with closed_after(place, journal):
        place.open()
        work = Work(spec, manifest, frame, place, progress, transfer, journal, job_dir)
        return _thaw(work)


def _thaw(work: Work) -> dict[str, Any]:
    manifest, progress = work.manifest, work.progress
    work.numbers = {file.path: number for number, file in enumerate(manifest.files)}
    progress.set(
        phase="look", files_total=len(manifest.files), bytes_total=sum(file.size for file in manifest.files)
    )
    work.transfer.expect([pack.key for pack in sorted(manifest.packs, key=lambda pack: pack.tier)])
    dirs = sorted(manifest.dirs)

    def prepare() -> None:
        for row in dirs:
            work.place.make_dir(row)
        if is_empty:
            begin_journal(work)

    is_empty = work.place.is_empty()
    if not is_empty:
        # What need not be fetched is known only after a look.
        prepare()
        keep_finished(work)
    tiers = _tiers(work)
    progress.set(phase="download")
    progress.usable_after(sum(manifest.files[number].size for number in tiers[0]))
    usable_at: list[str] = []

    def be_usable() -> None:
        for symlink in manifest.symlinks:
            work.place.symlink(symlink)
        _link(work)
        usable_at.append(utc_now())
        progress.set(usable=True)

    fill(work, tiers, prepare if is_empty else lambda: None, be_usable)
    progress.set(phase="finish")
    _link(work)
    work.place.drop_staging()
    _save_state(work, [work.place.finish_dir(row) for row in reversed(dirs)][::-1])
    return _result(work, usable_at[0])


def _fetch_manifest(spec: ThawSpec, transfer: Transfer) -> tuple[Manifest, bytes]:
    """The proven manifest, and the same compressed."""
    reference = spec.manifest
    if reference.size > MAX_MANIFEST_STORED:
        raise ManifestInvalid(f"a manifest of {reference.size} bytes is too big")
    stored = bytearray(reference.size)
    transfer.download(reference.key, 0, memoryview(stored))
    if hashlib.sha256(stored).hexdigest() != reference.sha256:
        raise ManifestInvalid("the stored manifest is not the one recorded (sha256)")
    frame = unseal_manifest(bytes(stored), spec.keys)
    manifest = read_frame(frame, spec.keys, reference.id)
    check_refs(manifest)
    check_size(manifest, spec.expect.files, spec.expect.size)
    return manifest, frame


def _tiers(work: Work) -> tuple[list[int], list[int]]:
    """Numbers of the files to restore, those that work needs first in the first list."""
    tiers: tuple[list[int], list[int]] = ([], [])
    for number, file in enumerate(work.manifest.files):
        if number not in work.placed:
            tiers[file_tier(file.path, file.mode, file.size)].append(number)
    return tiers


def _link(work: Work) -> None:
    """Make the hard links whose file is there, and note its new lstat: linking changes its ctime."""
    for link in work.manifest.hardlinks:
        number = work.numbers[link.target]
        if link.path not in work.linked and work.placed.get(number) is not None:
            work.linked.add(link.path)
            work.place.hardlink(link)
            work.placed[number] = work.place.look(link.target)


def _save_state(work: Work, dirs: list[DirRow]) -> None:
    spec = work.spec
    own = own_paths(
        spec.workspace, work.job_dir, spec.state_file, journal_path(spec.state_file), spec.token_file
    )
    rows = replace(work.manifest, dirs=dirs)
    frame = work.frame if dirs == work.manifest.dirs else None
    save_restored(spec.state_file, rows, list(_kept(work)), RuleBook(own=own), spec.keys, frame)


def _kept(work: Work) -> Iterator[Kept]:
    """What the machine will remember. A file that the user changed meanwhile is left out, and so read next time."""
    for number, file in enumerate(work.manifest.files):
        info = work.placed.get(number)
        if info is None or (info.st_size, info.st_mtime_ns) != (file.size, file.mtime_ns):
            continue
        now = (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid)
        if now != (file.mode, file.uid, file.gid):
            file = file._replace(mode=now[0], uid=now[1], gid=now[2])
        yield Kept(file, info.st_ctime_ns, info.st_ino)


def _result(work: Work, usable_at: str) -> dict[str, Any]:
    manifest, skipped = work.manifest, work.place.skipped
    files, size = count(manifest)
    return {
        "files": files,
        "bytes": size,
        "usable_at": usable_at,
        "complete_at": utc_now(),
        "skipped": [{"path": path, "why": why} for path, why in skipped[:_REPORTED]],
        "skipped_total": len(skipped),
        "to_fetch": _write_to_fetch(work)[:_REPORTED],
    }


def _write_to_fetch(work: Work) -> list[dict[str, Any]]:
    """What was left out of the snapshot because a hub has it, each with the command that fetches it."""
    workspace = os.path.abspath(work.spec.workspace)
    rows = [{**row._asdict(), "command": fetch_command(row, workspace)} for row in work.manifest.to_fetch]
    path = work.spec.state_file.with_name("to-fetch.json")
    if rows:
        write_atomically(path, json.dumps(rows, indent=1).encode())
    else:
        path.unlink(missing_ok=True)
    return rows
