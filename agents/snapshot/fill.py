"""Fill files from the stored chunks they need: run by run, what is urgent before all else, several at once."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from agents.snapshot.chunk import unpack_chunk
from agents.snapshot.errors import SnapshotError
from agents.snapshot.format import HOLE, FileRow, Manifest
from agents.snapshot.pipeline import Crew, Growth
from agents.snapshot.resume import Work, runs_of
from agents.snapshot.room import Room

DOWNLOADERS = 12
"""So many that a gigabit wire stays full while the first two or three of them make thousands of small files."""
MOST_DOWNLOADERS = 24
"""Each holds one run of stored bytes, 8 MiB."""
_RUN = 8 << 20
_GAP = 128 << 10
Wanted = dict[int, list[tuple[int, int, int]]]
"""Chunk → the places for its bytes: ``(file, run of a big file or -1, offset in the file)``."""


def fill(
    work: Work, tiers: Sequence[Sequence[int]], prepare: Callable[[], None], first_done: Callable[[], None]
) -> None:
    """Restore these files. ``first_done`` is called, in any thread, once all of the first tier is in its place.

    ``prepare`` makes what they are put into, while the first chunks are on their way already. The next tier's chunks
    are on theirs before the first tier is done: the network never waits for the processors.
    """
    urgent = _wanted(work, tiers[0])
    wanted = {number: list(targets) for number, targets in urgent.items()}
    for tier in tiers[1:]:
        for number, targets in _wanted(work, tier).items():
            wanted.setdefault(number, []).extend(targets)
    first = list(_stored_runs(work.manifest, urgent))
    rest = _stored_runs(work.manifest, wanted.keys() - urgent.keys())
    gate, latch = Gate(), _Latch(len(first), first_done)

    def tasks() -> Iterator[Callable[[], None]]:
        for run in first:
            yield lambda run=run: latch.after(partial(_fetch, work, run, wanted, gate, True))  # type: ignore[misc]
        for run in rest:
            yield partial(_fetch, work, run, wanted, gate, False)

    growth = Growth(
        DOWNLOADERS, MOST_DOWNLOADERS, lambda: work.transfer.moved, lambda: not work.rooms.are_short
    )
    crew = Crew(tasks(), DOWNLOADERS, growth)
    try:
        with gate.held():
            prepare()
            for tier in tiers:
                _begin(work, tier)
            if not first:
                first_done()
    except Exception as error:
        crew.errors.insert(0, error)
    crew.join()


class Gate:
    """Holds back whoever comes before all is prepared. If that fails, their tasks fail as well."""

    def __init__(self) -> None:
        self._done = threading.Event()
        self._is_open = False

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        try:
            yield
            self._is_open = True
        finally:
            self._done.set()

    def wait(self) -> None:
        self._done.wait()
        if not self._is_open:
            raise SnapshotError("thaw_failed", "what the files are put into could not be made")


class _Latch:
    """Calls ``then`` when ``count`` tasks are done; never if there are none."""

    def __init__(self, count: int, then: Callable[[], None]) -> None:
        self._left = count
        self._then = then
        self._lock = threading.Lock()

    def after(self, task: Callable[[], None]) -> None:
        task()
        with self._lock:
            self._left -= 1
            is_last = self._left == 0
        if is_last:
            self._then()


def _wanted(work: Work, numbers: Iterable[int]) -> Wanted:
    """Which chunks all of these files need, less what is there already. Nothing is touched."""
    wanted: Wanted = {}
    for number in numbers:
        file = work.manifest.files[number]
        if _is_small(file):
            wanted.setdefault(file.refs[0][0], []).append((number, -1, 0))
        else:
            for run, at in _missing(work, number):
                wanted.setdefault(file.refs[run][0], []).append((number, run, at))
    return wanted


def _is_small(file: FileRow) -> bool:
    return bool(file.hash) and len(file.refs) == 1 and file.refs[0][0] != HOLE


def _missing(work: Work, number: int) -> list[tuple[int, int]]:
    file, present = work.manifest.files[number], work.present
    return [
        (run, at) for run, at in runs_of(file) if file.refs[run][0] != HOLE and (number, run) not in present
    ]


def _begin(work: Work, numbers: Iterable[int]) -> None:
    """Finish what needs no bytes, and make room for the big files."""
    for number in numbers:
        file = work.manifest.files[number]
        if not file.size:
            work.placed[number] = work.place.small_file(file, b"")
            work.progress.add(files=1)
        elif not _is_small(file):
            missing = _missing(work, number)
            work.progress.add(size=file.size - sum(file.refs[run][2] for run, _ in missing))
            work.place.stage(number, file.size)
            work.refs_left[number] = len(missing)
            if not missing:
                _finish_big(work, number)


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


def _fetch(work: Work, run: list[int], wanted: Wanted, gate: Gate, is_urgent: bool) -> None:
    """Download one run, then decode it when a processor is free for that."""
    chunks = work.manifest.chunks
    first = chunks[run[0]]
    end = max(chunks[number].offset + chunks[number].stored for number in run)
    key = work.manifest.packs[first.pack].key
    with _buffer(work, end - first.offset) as data:
        work.transfer.download(key, first.offset, data)
        gate.wait()
        with work.rooms.lent(urgent=is_urgent) as room:
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


def _unpack(work: Work, run: list[int], data: memoryview, wanted: Wanted, room: Room) -> None:
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
    work.place.write_staged(number, data, at, room, hurry=work.rooms.are_short)
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
