"""What only our engine is asked: nothing changed, a slow wire, weights of any size, a hibernation after pre-copy."""

from __future__ import annotations

import random
import shutil
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.snapshot.change import NextDay, append
from benchmarks.snapshot.contest import Stage, clear, warm
from benchmarks.snapshot.engine import Box
from benchmarks.snapshot.picture import check_same, picture
from benchmarks.snapshot.report import Row
from benchmarks.snapshot.store import serve
from benchmarks.snapshot.workspace import LOG

RATE = 125e6
DELAY = 0.025
_UNCHANGED_FILES = 80_000
_SMALL, _BIG = 4e9, 16e9
_DATASET_WEIGHTS = 1.54e9
_RANDOM, _SPAN = 1 << 20, 4 << 20


def unchanged_rows(stage: Stage, rounds: int, scale: float) -> list[Row]:
    """A second snapshot of 80,000 small files that nobody touched."""
    count = max(10, int(_UNCHANGED_FILES * scale))
    workspace = stage.workspace
    try:
        _small_files(workspace, count)
        box = Box(stage.repos / "unchanged", workspace, stage.store_url)
        box.freeze("s0")
        warm(workspace)
        walls = [box.freeze(f"s{n + 1}", f"s{n}").cost.wall for n in range(rounds)]
    finally:
        shutil.rmtree(workspace, ignore_errors=True)
        clear(stage.repos)
    return [
        Row(f"nothing changed, {count:,} files: wall", tuple(walls), " s", at_most=1.0),
        Row("nothing changed: wall a file", tuple(wall / count * 1e6 for wall in walls), " µs", at_most=12.0),
    ]


def shaped_rows(stage: Stage, data: Path, rounds: int) -> list[Row]:
    """A restore over 1 Gbit/s with 25 ms to the first byte, against bytes received ÷ 125 MB/s + 25 ms."""
    speeds, free_speeds, shares, walls, peaks = [], [], [], [], []
    with _lent(data, stage.workspace):
        frozen = Box(stage.repos / "old", stage.workspace, stage.store_url).freeze("first")
        wanted = picture(stage.workspace)
    with serve(stage.repos, rate=RATE, delay=DELAY) as slow:
        for number in range(rounds):
            pack = frozen.result["packs_new"][0]["key"]
            speeds.append(_download_speed(slow.url, pack))
            free_speeds.append(_download_speed(stage.store_url, pack))
            warm(stage.repos)
            stage.workspace.mkdir()
            before = slow.counters()["sent"]
            job = Box(stage.repos / f"new-{number}", stage.workspace, slow.url).thaw(frozen.result)
            limit = (slow.counters()["sent"] - before) / RATE + DELAY
            shares.append(100 * limit / job.cost.wall)
            walls.append(job.cost.wall)
            peaks.append(job.cost.rss / 2**20)
            check_same("the shaped restore", wanted, stage.workspace)
            shutil.rmtree(stage.workspace)
    clear(stage.repos)
    return [
        Row("restore at 1 Gbit/s and 25 ms: wire limit / wall", tuple(shares), " %", at_least=95.0),
        Row("restore at 1 Gbit/s and 25 ms: wall", tuple(walls), " s"),
        Row("the shaped wire: plain downloads, 4 connections", tuple(speeds), " MB/s"),
        Row("the same wire without shaping", tuple(free_speeds), " MB/s"),
        Row("restore at 1 Gbit/s: peak memory", tuple(peaks), " MiB", at_most=700.0),
    ]


def usable_rows(stage: Stage, data: Path, rounds: int, scale: float) -> list[Row]:
    """Seconds until the workspace is usable over the same wire, with 4 GB and with 16 GB of weights (sparse random)."""
    boxes = Box(stage.repos / "old", stage.workspace, stage.store_url)
    extra = data / "models/extra"
    try:
        with _lent(data, stage.workspace):
            _sparse(stage.workspace / "models/extra", 0, int((_SMALL - _DATASET_WEIGHTS) * scale))
            small = boxes.freeze("small").result
            _sparse(stage.workspace / "models/extra", 1, int((_BIG - _SMALL) * scale))
            big = boxes.freeze("big", "small").result
        with serve(stage.repos, rate=RATE, delay=DELAY) as slow:
            times: dict[str, list[float]] = {"small": [], "big": []}
            for number in range(rounds):
                for frozen in (small, big):
                    name = frozen["snapshot"]
                    stage.workspace.mkdir()
                    box = Box(stage.repos / f"{name}-{number}", stage.workspace, slow.url)
                    times[name].append(box.thaw(frozen, until_usable=True).usable)
                    shutil.rmtree(stage.workspace)
    finally:
        shutil.rmtree(extra, ignore_errors=True)
        clear(stage.repos)
    ratios = tuple(b / s for b, s in zip(times["big"], times["small"], strict=True))
    return [
        Row("usable at 1 Gbit/s: 16 GB of weights against 4 GB", ratios, at_most=1.2),
        Row("usable at 1 Gbit/s with 4 GB of weights", tuple(times["small"]), " s"),
        Row("usable at 1 Gbit/s with 16 GB of weights", tuple(times["big"]), " s"),
    ]


def precopy_rows(stage: Stage, data: Path, rounds: int, scale: float) -> list[Row]:
    """Bytes that leave the machine after the decision to hibernate, a day's work after the last snapshot."""
    day = NextDay(stage.workspace, stage.box / "stash", scale)
    box = Box(stage.repos / "box", stage.workspace, stage.store_url)
    without, tails = [], []
    with _lent(data, stage.workspace):
        box.freeze("first")
        try:
            day.apply()
            for number in range(rounds):
                plain, early = (_like(box, stage, f"{name}-{number}") for name in ("plain", "early"))
                without.append(_sent(plain, "whole", "first"))
                early.freeze("precopy", "first", background=True)
                _idle_tail(stage.workspace)
                tails.append(_sent(early, "tail", "precopy"))
        finally:
            shutil.rmtree(stage.workspace / "idle", ignore_errors=True)
            day.undo()
    clear(stage.repos)
    return [
        Row(
            "bytes after the decision: with pre-copy against without",
            tuple(tail / whole for tail, whole in zip(tails, without, strict=True)),
            at_most=0.2,
        ),
        Row("bytes after the decision, without pre-copy", tuple(size / 1e6 for size in without), " MB"),
        Row("bytes after the decision, with pre-copy", tuple(size / 1e6 for size in tails), " MB"),
    ]


def _like(box: Box, stage: Stage, name: str) -> Box:
    """The same machine once more: what it knows is what the first snapshot left there, and nothing since."""
    copy = Box(stage.repos / name, stage.workspace, stage.store_url)
    shutil.copy(box.state_file, copy.state_file)
    return copy


def _sent(box: Box, snapshot: str, parent: str) -> float:
    return float(box.freeze(snapshot, parent).result["bytes_stored_new"])


def _idle_tail(workspace: Path) -> None:
    """What an idle machine still writes: lines of a log, a history, a notebook's checkpoint."""
    append(workspace / LOG, 12, 500)
    idle = workspace / "idle"
    idle.mkdir(exist_ok=True)
    for number in range(20):
        (idle / f"note-{number}.txt").write_bytes(random.randbytes(5_000))


@contextmanager
def _lent(data: Path, workspace: Path) -> Iterator[None]:
    data.rename(workspace)
    try:
        yield
    finally:
        workspace.rename(data)


def _small_files(root: Path, count: int) -> None:
    rng = random.Random(10)
    for number in range(count):
        folder = root / f"d{number // 100}"
        if number % 100 == 0:
            folder.mkdir(parents=True)
        (folder / f"file_{number}.txt").write_bytes(rng.randbytes(rng.randint(200, 2_000)))


def _sparse(folder: Path, seed: int, size: int) -> None:
    """Files of 1 GB with 1 MiB of noise in every 4 MiB, the rest holes."""
    rng = np.random.default_rng(seed)
    folder.mkdir(exist_ok=True)
    for number, start in enumerate(range(0, size, 1 << 30)):
        length = min(1 << 30, size - start)
        with (folder / f"{seed}-{number}.bin").open("wb") as out:
            for at in range(0, length, _SPAN):
                out.seek(at)
                out.write(rng.bytes(min(_RANDOM, length - at)))
            out.truncate(length)


def _download_speed(url: str, key: str) -> float:
    """MB/s of a plain client that reads one object twenty times over four connections at once."""
    begun = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        size = sum(pool.map(_download, [f"{url}/{key}"] * 20))
    return size / (time.monotonic() - begun) / 1e6


def _download(url: str) -> int:
    size = 0
    with urllib.request.urlopen(url, timeout=60) as reply:  # noqa: S310
        while block := reply.read(1 << 20):
            size += len(block)
    return size
