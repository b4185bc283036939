"""What a thaw need not do: files that an earlier run finished, and files whose bytes are there already."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from agents.snapshot.format import CELL, HOLE, FileRow, Manifest
from agents.snapshot.journal import Journal, boot_id
from agents.snapshot.pipeline import run_all
from agents.snapshot.place import Place
from agents.snapshot.progress import Progress
from agents.snapshot.room import Rooms
from agents.snapshot.spec import ThawSpec
from agents.snapshot.transfer import Transfer

MOST_DECODERS = 6
"""Each holds a chunk at two or three stages, 8 MiB each."""


def _rooms() -> Rooms:
    return Rooms(min(max(2, os.cpu_count() or 1), MOST_DECODERS))


@dataclass(slots=True)
class Work:
    """One thaw while it runs. Files go by their index in the manifest; ``placed`` holds the lstat of finished ones.

    ``frame`` is the manifest as it was compressed.
    """

    spec: ThawSpec
    manifest: Manifest
    frame: bytes
    place: Place
    progress: Progress
    transfer: Transfer
    journal: Journal
    job_dir: Path
    placed: dict[int, os.stat_result | None] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    refs_left: dict[int, int] = field(default_factory=dict)
    present: set[tuple[int, int]] = field(default_factory=set)
    linked: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)
    local: threading.local = field(default_factory=threading.local)
    rooms: Rooms = field(default_factory=lambda: _rooms())


def keep_finished(work: Work) -> None:
    """Find what need not be restored: what an earlier run of this job finished, and what has the right bytes."""
    finished, same_boot = _journalled(work)
    for number in finished if same_boot else ():
        _keep(work, number, work.place.look(work.manifest.files[number].path))
    work.progress.set(phase="verify")
    left = [number for number in range(len(work.manifest.files)) if number not in work.placed]
    threads = min(max(2, os.cpu_count() or 1), MOST_DECODERS)
    run_all((partial(_verify, work, n, n in finished) for n in left), threads)


def _journalled(work: Work) -> tuple[set[int], bool]:
    """Numbers of finished files, and whether the machine ran through since. A journal of another manifest is void."""
    head = _journal_head(work)
    lines = list(work.journal.lines())
    if not lines or not isinstance(lines[0], dict) or lines[0].get("manifest") != head["manifest"]:
        work.place.drop_staging()
        begin_journal(work)
        return set(), True
    finished = {number for line in lines[1:] if isinstance(line, list) for number in line}
    return finished, lines[0] == head


def begin_journal(work: Work) -> None:
    work.journal.begin(_journal_head(work))


def _journal_head(work: Work) -> dict[str, str]:
    return {"manifest": work.spec.manifest.id, "boot": boot_id()}


def _verify(work: Work, number: int, was_finished: bool) -> None:
    """Keep an existing file whose bytes hash right. After a restart a finished file with other times is the user's."""
    file = work.manifest.files[number]
    info = work.place.look(file.path)
    if info is not None and was_finished and info.st_mtime_ns != file.mtime_ns:
        _keep(work, number, info)
    elif info is not None and stat.S_ISREG(info.st_mode) and info.st_nlink == 1 and info.st_size == file.size:
        _adopt_if_same(work, number, file)
    if number not in work.placed and not file.hash and file.size:
        _look_into_staged(work, number, file)


def _adopt_if_same(work: Work, number: int, file: FileRow) -> None:
    try:
        fd = work.place.open_existing(file.path)
    except OSError:
        return  # it cannot even be read: it is replaced
    try:
        if all(_holds(work, fd, file, at, run) for run, at in runs_of(file)):
            _keep(work, number, work.place.adopt(file, fd))
    except OSError:
        return  # not ours to change: it is replaced
    finally:
        os.close(fd)


def _look_into_staged(work: Work, number: int, file: FileRow) -> None:
    """Which runs of a big file an earlier run of this job had already written."""
    try:
        fd = work.place.open_staged(number)
    except OSError:
        return
    try:
        if os.fstat(fd).st_size == file.size:
            work.present |= {(number, run) for run, at in runs_of(file) if _holds(work, fd, file, at, run)}
    finally:
        os.close(fd)


def runs_of(file: FileRow) -> Iterator[tuple[int, int]]:
    """``(index of the reference, offset in the file)``."""
    at = 0
    for number, ref in enumerate(file.refs):
        yield number, at
        at += ref[2]


def _holds(work: Work, fd: int, file: FileRow, at: int, number: int) -> bool:
    chunk, _, length = file.refs[number]
    if chunk == HOLE:
        return all(
            not os.pread(fd, min(CELL, at + length - start), start).strip(b"\0")
            for start in range(at, at + length, CELL)
        )
    expected = file.hash or work.manifest.chunks[chunk].id
    return work.spec.keys.name(os.pread(fd, length, at)) == expected


def _keep(work: Work, number: int, info: os.stat_result | None) -> None:
    file = work.manifest.files[number]
    work.placed[number] = info
    work.progress.add(size=file.size, files=1)
