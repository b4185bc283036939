"""A model hub's cache stays out of a snapshot when asked to, and comes back as a list of what to fetch."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from agents.snapshot.dirty import dirty
from tests.agents.snapshot.harness import Box, picture

REVISION = "0123456789abcdef0123456789abcdef01234567"
REPO = "hub/models--org--some-model"


def download(workspace: Path, repo: str = REPO, *, blob: str = "b1", name: str = "model.safetensors") -> Path:
    """What the hub's library leaves behind after it downloaded one file."""
    folder = workspace / repo
    for part in ("blobs", "refs", f"snapshots/{REVISION}/sub"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "refs" / "main").write_text(REVISION)
    (folder / "blobs" / blob).write_bytes(b"w" * 1000)
    link = folder / "snapshots" / REVISION / name
    link.symlink_to(os.path.relpath(folder / "blobs" / blob, link.parent))
    return folder


def freeze(box: Box, *args: Any) -> dict[str, Any]:
    return box.freeze(*args, leave_out_model_cache=True)


def test_a_complete_model_is_left_out_and_listed(box: Box, other: Box) -> None:
    folder = download(box.workspace)
    download(box.workspace, blob="b2", name="sub/config.json")
    frozen = freeze(box, "s1")
    fetch = {
        "kind": "model",
        "repo": "org/some-model",
        "revision": REVISION,
        "path": "hub",
        "files": ["model.safetensors", "sub/config.json"],
        "bytes": 2000,
    }
    assert [row | {"files": list(row["files"])} for row in frozen["to_fetch"]] == [fetch]
    assert [(row["path"], row["rule"], row["bytes"]) for row in frozen["left_out"]] == [
        (f"{REPO}/blobs", "model cache", 2000)
    ]
    thawed = other.thaw(frozen)
    command = thawed["to_fetch"][0]["command"]
    assert command == (
        f"huggingface-cli download org/some-model model.safetensors sub/config.json --revision {REVISION}"
        f" --cache-dir {other.workspace}/hub"
    )
    assert json.loads(other.state_file.with_name("to-fetch.json").read_text())[0]["command"] == command
    assert not (other.workspace / REPO / "blobs").exists()
    assert (other.workspace / REPO / "refs" / "main").read_text() == REVISION
    assert not dirty(str(box.workspace), box.state_file)["dirty"]
    (folder / "blobs" / "b3.incomplete").touch()
    assert dirty(str(box.workspace), box.state_file)["dirty"]


def test_what_was_not_fetched_again_is_still_listed_next_time(box: Box, other: Box) -> None:
    download(box.workspace)
    first = freeze(box, "s1")
    other.thaw(first)
    second = freeze(other, "s2", "s1")
    assert [row["revision"] for row in second["to_fetch"]] == [REVISION]


def test_without_the_option_it_is_part_of_the_snapshot(box: Box, other: Box) -> None:
    download(box.workspace)
    frozen = box.freeze("s1")
    other.thaw(frozen)
    assert frozen["to_fetch"] == []
    assert picture(other.workspace) == picture(box.workspace)
    assert not other.state_file.with_name("to-fetch.json").exists()


def test_a_data_set_is_fetched_as_one(box: Box, other: Box) -> None:
    download(box.workspace, "datasets--squad")
    thawed = other.thaw(freeze(box, "s1"))
    assert thawed["to_fetch"][0]["path"] == ""
    assert thawed["to_fetch"][0]["command"].startswith("huggingface-cli download squad model.safetensors")
    assert "--repo-type dataset" in thawed["to_fetch"][0]["command"]


def incomplete(folder: Path) -> None:
    (folder / "blobs" / "x.incomplete").touch()


def unreferenced(folder: Path) -> None:
    (folder / "blobs" / "mine").touch()


def foreign_link(folder: Path) -> None:
    (folder / "snapshots" / REVISION / "x").symlink_to("/etc/passwd")


def strange_revision(folder: Path) -> None:
    (folder / "snapshots" / "main").mkdir()


def no_revision(folder: Path) -> None:
    (folder / "snapshots" / REVISION).rename(folder / "elsewhere")


def an_option(folder: Path) -> None:
    (folder / "snapshots" / REVISION / "--help").symlink_to("../../blobs/b1")


def linked_blobs(folder: Path) -> None:
    (folder / "blobs").rename(folder / "real")
    (folder / "blobs").symlink_to("real")


@pytest.mark.parametrize(
    "spoil", [incomplete, unreferenced, foreign_link, strange_revision, no_revision, an_option, linked_blobs]
)
def test_what_is_not_plainly_a_finished_download_is_kept(box: Box, other: Box, spoil: Any) -> None:
    spoil(download(box.workspace))
    frozen = freeze(box, "s1")
    assert (frozen["to_fetch"], frozen["left_out"]) == ([], [])
    other.thaw(frozen)
    assert picture(other.workspace) == picture(box.workspace)


@pytest.mark.parametrize(
    "name", ["models--", "models--a--b--c", "models---x", "models--a b", "mymodels--a--b"]
)
def test_other_folders_are_no_model_cache(box: Box, name: str) -> None:
    download(box.workspace, name)
    assert freeze(box, "s1")["to_fetch"] == []
