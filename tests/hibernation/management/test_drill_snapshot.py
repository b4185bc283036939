"""The restore drill: the real agent restores into a folder, and every kind of difference is found."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from hibernation.models import Instance, Pack
from hibernation.services import drill as drill_module
from tests.hibernation.services.world import World

pytestmark = [pytest.mark.django_db, pytest.mark.network]


def asleep(world: World) -> Instance:
    instance = world.awake()
    workspace = world.box(instance).workspace
    (workspace / "big").write_bytes(bytes(range(256)) * (9 << 12))
    (workspace / "link").symlink_to("/nowhere")
    os.link(workspace / "big", workspace / "again")
    with open(os.path.join(os.fsencode(workspace), b"\xff\n"), "wb") as file:
        file.truncate(3 << 20)
    (workspace / "closed").mkdir()
    (workspace / "closed" / "file").touch()
    (workspace / "closed").chmod(0o500)
    world.run(world.hibernate(instance))
    instance.refresh_from_db()
    return instance


def run(instance: Instance, into: Path, *more: str) -> str:
    out = StringIO()
    assert instance.snapshot is not None
    try:
        call_command("drill_snapshot", instance.snapshot.name, "--into", str(into), *more, stdout=out)
    except CommandError as error:
        out.write(f"failed: {error}")
    return out.getvalue()


def test_a_good_copy_comes_back_whole_and_leaves_nothing(world: World, tmp_path: Path) -> None:
    (into := tmp_path / "room").mkdir()
    said = run(asleep(world), into)
    assert "differences  0" in said
    assert re.search(r"files +\d", said)
    assert "failed" not in said
    assert not any(into.iterdir())


def test_the_workspace_is_kept_on_request(world: World, tmp_path: Path) -> None:
    (into := tmp_path / "room").mkdir()
    said = run(asleep(world), into, "--keep")
    assert (into / Path(said.split()[-1])).is_dir()
    (home,) = into.iterdir()
    assert not (home / "drill" / "spec.json").exists()
    assert (home / "workspace" / "link").is_symlink()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda root: (root / "extra").touch(), "extra was never saved"),
        (lambda root: (root / "notes.txt").unlink(), "notes.txt No such file"),
        (lambda root: (root / "notes.txt").chmod(0o777), "notes.txt has mode 0777"),
        (lambda root: os.utime(root / "notes.txt", ns=(1, 1)), "notes.txt has another time"),
        (lambda root: (root / "notes.txt").write_text("other"), "notes.txt holds other bytes"),
        (lambda root: os.truncate(root / "big", 5), "has 5 bytes, not 9437184"),
        (lambda root: relink(root), "link leads somewhere else"),
        (lambda root: unlink_twin(root), "is no other name of"),
    ],
)
def test_every_difference_is_found(
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path], object],
    what: str,
) -> None:
    real = drill_module.compare

    def meddled(manifest: object, keys: object, root: str, fetch: object) -> object:
        change(Path(root))
        return real(manifest, keys, root, fetch)  # type: ignore[arg-type]

    monkeypatch.setattr(drill_module, "compare", meddled)
    said = run(asleep(world), tmp_path)
    assert what in said
    assert "failed: " in said


def relink(root: Path) -> None:
    (root / "link").unlink()
    (root / "link").symlink_to("/elsewhere")


def unlink_twin(root: Path) -> None:
    data = (root / "big").read_bytes()
    (root / "again").unlink()
    (root / "again").write_bytes(data)


def test_a_damaged_copy_is_not_restored(world: World, tmp_path: Path) -> None:
    (into := tmp_path / "room").mkdir()
    instance = asleep(world)
    for pack in Pack.objects.filter(kind="pack"):
        path = world.store_root / pack.key
        path.write_bytes(bytes(byte ^ 1 for byte in path.read_bytes()))
    assert "failed: The restore failed. snapshot_unproven" in run(instance, into)
    assert not any(into.iterdir())


def test_a_disk_without_room_is_not_filled(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drill_module, "_SPARE", 1 << 60)
    assert "are needed" in run(asleep(world), tmp_path)


@pytest.mark.parametrize("arguments", [["nothing"], ["nothing", "--into", "/no/such/folder"]])
def test_there_must_be_a_snapshot_and_a_folder(db: None, arguments: list[str]) -> None:
    with pytest.raises(CommandError):
        call_command("drill_snapshot", *arguments)
