"""What is saved: listed, looked into, and fetched whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from typer.testing import Result

from hibernation.models import Instance
from hibernation.services.browse import shelf
from tests.dumont.cli.conftest import Terminal
from tests.factories import make_instance, make_snapshot
from tests.hibernation.services.world import World

pytestmark = pytest.mark.django_db
MODEL = bytes(range(256)) * 300


@pytest.fixture
def asleep(terminal: Terminal, world: World) -> Instance:
    shelf.clear()
    instance = world.awake()
    workspace = world.box(instance).workspace
    (workspace / "link").symlink_to("notes.txt")
    with open(os.path.join(os.fsencode(workspace), b"odd\xff \x1b[31m.bin"), "wb") as file:
        file.write(b"odd")
    world.run(world.hibernate(instance))
    instance.refresh_from_db()
    return instance


def test_snapshots_are_listed_with_why_they_are_kept(terminal: Terminal, asleep: Instance) -> None:
    shown = terminal.run("snapshots", asleep.pk).stdout
    assert asleep.snapshot is not None
    for part in (asleep.snapshot.name, "verified", "current"):
        assert part in shown
    assert terminal.json("snapshots", asleep.pk)["snapshots"][0]["name"] == asleep.snapshot.name


def test_where_nothing_is_saved_it_says_so(terminal: Terminal) -> None:
    instance = make_instance()
    assert "has no snapshot" in terminal.run("snapshots", instance.pk).stdout
    assert "has no snapshot yet" in terminal.run("files", instance.pk, code=3).stderr


def test_a_folder_is_listed(terminal: Terminal, asleep: Instance) -> None:
    lines = terminal.run("files", asleep.pk).stdout.splitlines()
    names = [line.split("  ")[-1] for line in lines[1:]]
    assert "data/" in names
    assert "link -> notes.txt" in names
    assert asleep.snapshot is not None
    inside = terminal.json("files", asleep.pk, asleep.snapshot.name, "data")
    assert [entry["path"] for entry in inside["entries"]] == ["data/model.bin"]


def test_files_are_searched(terminal: Terminal, asleep: Instance) -> None:
    assert "data/model.bin" in terminal.run("files", asleep.pk, "--search", "model").stdout
    assert "Nothing is named so." in terminal.run("files", asleep.pk, "--search", "nothing").stdout


def test_a_file_arrives_whole(terminal: Terminal, asleep: Instance, tmp_path: Path) -> None:
    assert "76.8 kB in model.bin" in terminal.run("get", asleep.pk, "data/model.bin").stdout
    assert (tmp_path / "model.bin").read_bytes() == MODEL
    told = terminal.json("get", asleep.pk, "data/model.bin", "-o", "copy")
    assert told == {"path": "data/model.bin", "file": "copy", "bytes": len(MODEL)}


@pytest.mark.parametrize("options", [(), ("--force",)])
def test_a_file_is_for_its_owner_only_from_the_first_byte_on(
    terminal: Terminal, asleep: Instance, tmp_path: Path, options: tuple[str, ...]
) -> None:
    modes: list[int] = []

    def body() -> Iterator[bytes]:
        modes.extend(part.stat().st_mode & 0o777 for part in tmp_path.glob(".notes.txt.*.part"))
        yield b"hello"

    get_streamed(terminal, asleep, body(), *options)
    assert modes == [0o600]
    assert (tmp_path / "notes.txt").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.glob("*notes*")] == ["notes.txt"]


def get_streamed(
    terminal: Terminal, asleep: Instance, body: Iterator[bytes], *options: str, code: int = 0
) -> Result:
    """``get notes.txt`` of a server that sends ``body``."""
    assert asleep.snapshot is not None
    terminal.wire.replies = [httpx.Response(200, content=body)]
    return terminal.run(
        "get", asleep.pk, "notes.txt", "--snapshot", asleep.snapshot.name, *options, code=code
    )


def test_a_file_goes_to_stdout_and_nothing_with_it(terminal: Terminal, asleep: Instance) -> None:
    assert terminal.run("get", asleep.pk, "notes.txt", "-o", "-").stdout == "hello"
    terminal.run("get", asleep.pk, "notes.txt", "-o", "-", "--json", code=2)


def test_a_name_that_is_no_text_is_fetched_and_does_no_harm_to_the_terminal(
    terminal: Terminal, asleep: Instance, tmp_path: Path
) -> None:
    name = os.fsdecode(b"odd\xff \x1b[31m.bin")
    shown = terminal.run("files", asleep.pk).stdout
    assert "\x1b" not in shown
    assert "[31m.bin" in shown
    assert "\x1b" not in terminal.run("get", asleep.pk, name).stdout
    assert (tmp_path / name).read_bytes() == b"odd"


def test_a_file_that_is_there_is_only_replaced_by_order(
    terminal: Terminal, asleep: Instance, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert "--force" in terminal.run("get", asleep.pk, "notes.txt", code=2).stderr
    assert (tmp_path / "notes.txt").read_text() == "mine"
    terminal.run("get", asleep.pk, "notes.txt", "--force")
    assert (tmp_path / "notes.txt").read_text() == "hello"


def no_links(*names: object) -> None:
    raise PermissionError(errno.EPERM, "Operation not permitted")


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_somebody_makes_meanwhile_is_not_replaced(
    terminal: Terminal, asleep: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", no_links)

    def body() -> Iterator[bytes]:
        (tmp_path / "notes.txt").write_text("mine")
        yield b"hello"

    assert "--force" in get_streamed(terminal, asleep, body(), code=2).stderr
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert list(tmp_path.glob(".notes*")) == []


def test_a_file_arrives_also_where_there_are_no_links(
    terminal: Terminal, asleep: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", no_links)
    terminal.run("get", asleep.pk, "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "hello"
    assert list(tmp_path.glob(".notes*")) == []


def test_what_another_download_left_is_neither_used_nor_deleted(
    terminal: Terminal, asleep: Instance, tmp_path: Path
) -> None:
    other = tmp_path / f".notes.txt.{os.getpid()}.part"
    other.write_text("theirs")
    terminal.run("get", asleep.pk, "notes.txt")
    assert other.read_text() == "theirs"
    assert (tmp_path / "notes.txt").read_text() == "hello"


def test_what_comes_encoded_is_not_kept(terminal: Terminal, asleep: Instance, tmp_path: Path) -> None:
    assert asleep.snapshot is not None
    encoded = httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=httpx.ByteStream(b"\x1f\x8b"))
    terminal.wire.replies = [encoded]
    shown = terminal.run("get", asleep.pk, "notes.txt", "--snapshot", asleep.snapshot.name, code=6).stderr
    assert "as gzip" in shown
    assert list(tmp_path.glob("*notes*")) == []


def test_a_file_that_ends_early_leaves_nothing(terminal: Terminal, asleep: Instance, tmp_path: Path) -> None:
    assert asleep.snapshot is not None
    short = httpx.Response(200, headers={"Content-Length": "9"}, stream=httpx.ByteStream(b"four"))
    terminal.wire.replies = [short]
    result = terminal.run("get", asleep.pk, "notes.txt", "--snapshot", asleep.snapshot.name, code=6)
    assert "after 4 of 9 bytes" in result.stderr
    assert list(tmp_path.glob("*notes*")) + list(tmp_path.glob(".*notes*")) == []


@pytest.mark.parametrize(("path", "code"), [("nothing", 3), ("data", 5), ("link", 5)])
def test_what_is_no_file_cannot_be_fetched(
    terminal: Terminal, asleep: Instance, tmp_path: Path, path: str, code: int
) -> None:
    terminal.run("get", asleep.pk, path, code=code)
    assert not (tmp_path / path).exists()


def test_a_place_that_cannot_be_written_is_said(terminal: Terminal, asleep: Instance) -> None:
    assert (
        "cannot be written" in terminal.run("get", asleep.pk, "notes.txt", "-o", "no/such/x", code=1).stderr
    )
    terminal.run("get", asleep.pk, "/", code=2)


def test_what_is_not_proven_and_what_is_unknown_cannot_be_looked_into(terminal: Terminal) -> None:
    instance = make_instance()
    terminal.run("files", instance.pk, make_snapshot(instance, state="frozen", verified_at=None).name, code=5)
    terminal.run("files", instance.pk, "no_such", code=3)
