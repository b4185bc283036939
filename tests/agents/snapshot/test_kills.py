"""Freeze and thaw killed with -9 at random points, again and again: the end is the same, and nothing is done twice."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agents.snapshot.format import HOLE, Manifest, ManifestRef
from hibernation.snapshots.manifest import read_manifest
from tests.agents.snapshot.harness import KEYS, Box, Cloud, picture
from tests.agents.snapshot.test_jobs import finish, job, kill, prepare

MIB = 1 << 20

pytestmark = pytest.mark.network


def fill(box: Box) -> None:
    source = random.Random(7)
    for number in range(400):
        folder = box.workspace / f"d{number % 20}"
        folder.mkdir(exist_ok=True)
        (folder / f"m{number}.py").write_bytes(source.randbytes(source.randrange(40_000)))
    for number in range(12):
        (box.workspace / f"w{number}.bin").write_bytes(source.randbytes(source.randrange(2 * MIB, 20 * MIB)))
    os.link(box.workspace / "w3.bin", box.workspace / "twin")
    (box.workspace / "link").symlink_to("w3.bin")


def points(cloud: Cloud, folder: Path, method: str, seed: int, count: int) -> Iterator[None]:
    """Start the job, let it go on for a random number of requests and a little longer, and kill it."""
    chance = random.Random(seed)
    for _ in range(count):
        left = [chance.randrange(1, 4)]

        def slowly(called: str, key: str, left: list[int] = left) -> None:
            if called == method:
                time.sleep(0.02)
                left[0] -= 1

        cloud.fault = slowly
        job("start", folder)
        deadline = time.monotonic() + chance.choice([0.1, 0.5, 10.0, 10.0, 10.0])
        while left[0] > 0 and time.monotonic() < deadline and job_runs(folder):
            time.sleep(0.002)
        time.sleep(chance.random() * 0.05)
        with suppress(ProcessLookupError):
            kill(folder)
        yield
    cloud.fault = lambda called, key: None
    job("start", folder)


def job_runs(folder: Path) -> bool:
    with suppress(FileNotFoundError, msgspec.DecodeError):
        return bool(msgspec.json.decode((folder / "progress.json").read_bytes())["state"] == "running")
    return True


def lines(path: Path) -> list[Any]:
    found = []
    for line in path.read_bytes().split(b"\n") if path.exists() else []:
        with suppress(msgspec.DecodeError):
            found.append(msgspec.json.decode(line))
    return found


def check_freeze(box: Box, other: Box, cloud: Cloud, seed: int, kills: int) -> None:
    fill(box)
    folder = prepare(box, "f", box.freeze_spec("s1"))
    for _ in points(cloud, folder, "PUT", seed, kills):
        pass
    frozen = finish(folder)["result"]
    stored = [fact for fact in lines(box.state_file.with_suffix(".journal")) if "pack" in fact]
    ids = [chunk[0] for fact in stored for chunk in fact["chunks"]]
    assert len(ids) == len(set(ids))
    assert {pack["key"] for pack in frozen["packs_new"]} == {fact["pack"][1] for fact in stored}
    other.thaw(frozen)
    assert picture(other.workspace) == picture(box.workspace)


def check_thaw(box: Box, other: Box, cloud: Cloud, seed: int, kills: int) -> None:
    fill(box)
    frozen = box.freeze("s1")
    manifest = read_manifest(cloud.store, ManifestRef(**frozen["manifest"]), KEYS)
    folder = prepare(other, "t", other.thaw_spec(frozen))
    allowed = {pack.key for pack in manifest.packs} | {frozen["manifest"]["key"]}
    for _ in points(cloud, folder, "GET", seed, kills):
        assert set(cloud.gets) <= allowed
        allowed = needed(manifest, lines(folder / "journal")) | {frozen["manifest"]["key"]}
        time.sleep(0.05)  # what the dead one had asked for is being answered yet
        cloud.gets.clear()
    assert finish(folder)["state"] == "done"
    assert set(cloud.gets) <= allowed
    assert picture(other.workspace) == picture(box.workspace)
    assert other.freeze("s2", "s1")["packs_new"] == []


def needed(manifest: Manifest, journal: list[Any]) -> set[str]:
    """Packs with something for a file that the killed thaw had not finished."""
    done = {number for line in journal if isinstance(line, list) for number in line}
    left = [file for number, file in enumerate(manifest.files) if number not in done]
    chunks = {ref[0] for file in left for ref in file.refs if ref[0] != HOLE}
    return {manifest.packs[manifest.chunks[number].pack].key for number in chunks}


def test_a_freeze_killed_anywhere_sends_nothing_twice(box: Box, other: Box, cloud: Cloud) -> None:
    check_freeze(box, other, cloud, 1, 12)


def test_a_thaw_killed_anywhere_fetches_nothing_twice(box: Box, other: Box, cloud: Cloud) -> None:
    check_thaw(box, other, cloud, 2, 12)


@pytest.mark.chaos
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", range(10, 16))
@pytest.mark.parametrize("check", [check_freeze, check_thaw])
def test_a_hundred_kills_change_nothing(box: Box, other: Box, cloud: Cloud, seed: int, check: Any) -> None:
    check(box, other, cloud, seed, 20)
