"""Thaw: fill a workspace from a proven manifest. What work needs first comes first; what is there already is kept.

A killed thaw goes on where it stopped, and never touches again a file that it had finished: from «usable» on, the
user may have changed it.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from agents.snapshot.catalog import Kept
from agents.snapshot.chunk import unpack_chunk
from agents.snapshot.errors import ManifestInvalid, SnapshotError
from agents.snapshot.format import (
    HOLE,
    MAX_MANIFEST_STORED,
    DirRow,
    Manifest,
    file_tier,
)
from agents.snapshot.journal import Journal, journal_path
from agents.snapshot.manifest import check_refs, check_size, count, unpack_manifest
from agents.snapshot.model_cache import fetch_command
from agents.snapshot.pipeline import Growth, closed_after, run_all
from agents.snapshot.place import Place
from agents.snapshot.progress import Progress, utc_now, write_atomically
from agents.snapshot.resume import Work, begin_journal, keep_finished, runs_of
from agents.snapshot.room import Room
from agents.snapshot.rules import RuleBook
from agents.snapshot.spec import ThawSpec
from agents.snapshot.state import save_restored
from agents.snapshot.transfer import Transfer
from agents.snapshot.walk import own_paths

DOWNLOADERS = 6
MOST_DOWNLOADERS = 24
"""Each holds one run of stored bytes, 8 MiB."""
_RUN = 8 << 20
_GAP = 128 << 10
_REPORTED = 200


def thaw(spec: ThawSpec, job_dir: Path, progress: Progress, transfer: Transfer) -> dict[str, Any]:
    """Restore the snapshot and return the job's result. Nothing is written unless the manifest is the proven one.

    Raises ``SnapshotError`` or ``OSError``. Safe to repeat. Files that the manifest does not list stay as they are.
    """
    progress.set(phase="manifest")
    progress.follow(lambda: transfer.moved)
    manifest = _fetch_manifest(spec, transfer)
    place, journal = Place(spec.workspace), Journal(job_dir / "journal")
    with closed_after(place, journal):
        place.open()
        work = Work(spec, manifest, place, progress, transfer, journal, job_dir)
        return _thaw(work)


def _thaw(work: Work) -> dict[str, Any]:
    manifest, progress = work.manifest, work.progress
    work.numbers = {file.path: number for number, file in enumerate(manifest.files)}
    progress.set(
        phase="look", files_total=len(manifest.files), bytes_total=sum(file.size for file in manifest.files)
    )
    is_empty = work.place.is_empty()
    dirs = sorted(manifest.dirs)
    for row in dirs:
        work.place.make_dir(row)
    if is_empty:
        begin_journal(work)
    else:
        keep_finished(work)
    tiers = _tiers(work)
    work.transfer.expect([pack.key for pack in sorted(manifest.packs, key=lambda pack: pack.tier)])
    progress.set(phase="download")
    progress.usable_after(sum(manifest.files[number].size for number in tiers[0]))
    _fill(work, tiers[0])
    for symlink in manifest.symlinks:
        work.place.symlink(symlink)
    _link(work)
    usable_at = utc_now()
    progress.set(usable=True)
    _fill(work, tiers[1])
    progress.set(phase="finish")
    _link(work)
    work.place.drop_staging()
    _save_state(work, [work.place.finish_dir(row) for row in reversed(dirs)])
    return _result(work, usable_at)


def _fetch_manifest(spec: ThawSpec, transfer: Transfer) -> Manifest:
    reference = spec.manifest
    if reference.size > MAX_MANIFEST_STORED:
        raise ManifestInvalid(f"a manifest of {reference.size} bytes is too big")
    stored = bytearray(reference.size)
    transfer.download(reference.key, 0, memoryview(stored))
    if hashlib.sha256(stored).hexdigest() != reference.sha256:
        raise ManifestInvalid("the stored manifest is not the one recorded (sha256)")
    manifest = unpack_manifest(bytes(stored), spec.keys, reference.id)
    check_refs(manifest)
    check_size(manifest, spec.expect.files, spec.expect.size)
    return manifest


def _tiers(work: Work) -> tuple[list[int], list[int]]:
    """Numbers of the files to restore, those that work needs first in the first list."""
    tiers: tuple[list[int], list[int]] = ([], [])
    for number, file in enumerate(work.manifest.files):
        if number not in work.placed:
            tiers[file_tier(file.path, file.mode, file.size)].append(number)
    return tiers


def _fill(work: Work, numbers: list[int]) -> None:
    """Restore these files: begin the big ones, then run through the stored chunks they need, pack by pack."""
    wanted: dict[int, list[tuple[int, int, int]]] = {}
    for number in numbers:
        file = work.manifest.files[number]
        if not file.size:
            work.placed[number] = work.place.small_file(file, b"")
            work.progress.add(files=1)
            continue
        if file.hash and len(file.refs) == 1 and file.refs[0][0] != HOLE:
            wanted.setdefault(file.refs[0][0], []).append((number, -1, 0))
            continue
        runs = [(run, at) for run, at in runs_of(file) if file.refs[run][0] != HOLE]
        missing = [(run, at) for run, at in runs if (number, run) not in work.present]
        work.progress.add(size=file.size - sum(file.refs[run][2] for run, _ in missing))
        work.place.stage(number, file.size)
        work.refs_left[number] = len(missing)
        if not missing:
            _finish_big(work, number)
        for run, at in missing:
            wanted.setdefault(file.refs[run][0], []).append((number, run, at))
    tasks = (partial(_fetch, work, run, wanted) for run in _stored_runs(work.manifest, wanted))
    run_all(tasks, DOWNLOADERS, Growth(DOWNLOADERS, MOST_DOWNLOADERS, lambda: work.transfer.moved))


def _stored_runs(manifest: Manifest, wanted: Iterable[int]) -> Iterator[list[int]]:
    """Chunks that are fetched with one request: neighbours in a pack, small gaps included, up to 8 MiB."""
    run: list[int] = []
    for number in sorted(wanted, key=lambda n: (manifest.chunks[n].pack, manifest.chunks[n].offset)):
        chunk = manifest.chunks[number]
        if run:
            first, last = manifest.chunks[run[0]], manifest.chunks[run[-1]]
            near = chunk.offset - (last.offset + last.stored) <= _GAP
            if chunk.pack != first.pack or not near or chunk.offset + chunk.stored - first.offset > _RUN:
                yield run
                run = []
        run.append(number)
    if run:
        yield run


def _fetch(work: Work, run: list[int], wanted: dict[int, list[tuple[int, int, int]]]) -> None:
    """Download one run, then decode it when a processor is free for that."""
    chunks = work.manifest.chunks
    first = chunks[run[0]]
    end = max(chunks[number].offset + chunks[number].stored for number in run)
    key = work.manifest.packs[first.pack].key
    with _buffer(work, end - first.offset) as data:
        work.transfer.download(key, first.offset, data)
        with work.rooms.lent() as room:
            try:
                _unpack(work, run, data, wanted, room)
            except SnapshotError as error:
                raise SnapshotError(error.code, f"{key}: {error}") from error


def _buffer(work: Work, size: int) -> memoryview:
    """The thread's own, grown to the biggest run it ever fetched."""
    kept: bytearray = getattr(work.local, "buffer", bytearray())
    if len(kept) < size:
        kept = work.local.buffer = bytearray(max(size, _RUN))
    return memoryview(kept)[:size]


def _unpack(
    work: Work, run: list[int], data: memoryview, wanted: dict[int, list[tuple[int, int, int]]], room: Room
) -> None:
    start = work.manifest.chunks[run[0]].offset
    small: list[int] = []
    for number in run:
        chunk = work.manifest.chunks[number]
        at = chunk.offset - start
        raw = unpack_chunk(work.spec.keys, chunk, data[at : at + chunk.stored], room)
        _put(work, memoryview(raw), wanted[number], small, room)
    if small:
        work.journal.append(small)
        files = work.manifest.files
        work.progress.add(size=sum(files[number].size for number in small), files=len(small))


def _put(
    work: Work, raw: memoryview, targets: list[tuple[int, int, int]], small: list[int], room: Room
) -> None:
    """Write one decoded chunk to every file that uses it; note in ``small`` the small files this finished."""
    for number, run, at in targets:
        file = work.manifest.files[number]
        _, offset, length = file.refs[max(run, 0)]
        data = raw[offset : offset + length]
        if run < 0:
            work.placed[number] = work.place.small_file(file, data)
            small.append(number)
        else:
            _put_run(work, number, data, at, None if offset else room)


def _put_run(work: Work, number: int, data: memoryview, at: int, room: Room | None) -> None:
    """Past the page cache only while chunks wait for a processor: else its copy is free, and the cache of use."""
    work.place.write_staged(number, data, at, room if work.rooms.are_short else None)
    work.progress.add(size=len(data))
    with work.lock:
        work.refs_left[number] -= 1
        is_whole = work.refs_left[number] == 0
    if is_whole:
        _finish_big(work, number)


def _finish_big(work: Work, number: int) -> None:
    work.placed[number] = work.place.unstage(number, work.manifest.files[number])
    work.journal.append([number])
    work.progress.add(files=1)


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
    save_restored(spec.state_file, rows, list(_kept(work)), RuleBook(own=own), spec.keys)


def _kept(work: Work) -> Iterator[Kept]:
    """What the machine will remember. A file that the user changed meanwhile is left out, and so read next time."""
    for number, file in enumerate(work.manifest.files):
        info = work.placed.get(number)
        if info is None or (info.st_size, info.st_mtime_ns) != (file.size, file.mtime_ns):
            continue
        row = file._replace(mode=stat.S_IMODE(info.st_mode), uid=info.st_uid, gid=info.st_gid)
        yield Kept(row, info.st_ctime_ns, info.st_ino)


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
