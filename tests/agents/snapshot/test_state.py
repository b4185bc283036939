"""The state file: what it remembers comes back, and what is damaged is not trusted."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.snapshot.catalog import Chunk, FrozenFile, Kept, Known, Pack, known_packs, tabulate
from agents.snapshot.cipher import Keys
from agents.snapshot.errors import SnapshotError
from agents.snapshot.format import HOLE, DirRow, FileRow, Manifest
from agents.snapshot.manifest import (
    check_refs,
    compress_manifest,
    decode_manifest,
    encode_manifest,
    parse_manifest,
)
from agents.snapshot.rules import RuleBook
from agents.snapshot.state import State, load_state, save_restored
from agents.snapshot.walk import walk
from tests.agents.snapshot.harness import KEYS, Box

BOOK = RuleBook(("*.tmp", "!caf\udce9"), (".dumont",), True)


def row(path: str, *refs: tuple[int, int, int], xattrs: dict[str, str] | None = None) -> FileRow:
    return FileRow(path, 0o644, 0, 0, 1, sum(ref[2] for ref in refs), "", refs, xattrs or {})


def manifest(*files: FileRow) -> Manifest:
    dirs = [DirRow("", 0o755, 0, 0, 1, {})]
    return Manifest("s1", None, "now", [], [], list(files), dirs, [], [], [], [], 0)


def saved(path: Path, *files: FileRow) -> State:
    looks = [Kept(file, number + 5, (1 << 64) - 1 - number) for number, file in enumerate(files)]
    save_restored(path, manifest(*files), looks, BOOK, KEYS)
    state = load_state(path, KEYS)
    assert state is not None
    return state


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    files = (row("a"), row("caf\udce9", (HOLE, 0, 7), xattrs={"user.\udcff": "00"}))
    state = saved(tmp_path / "below" / "state", *files)
    assert tuple(state.manifest.files) == files
    assert (list(state.ctimes), state.inodes[1]) == ([5, 6], (1 << 64) - 2)
    assert state.book == BOOK


def test_a_given_frame_is_kept_if_every_file_came_out_as_listed(tmp_path: Path) -> None:
    listed = manifest(row("a"), row("b"))
    frame = compress_manifest(encode_manifest(replace(listed, created_at="as it was stored")))
    looks = [Kept(file, 1, 2) for file in listed.files]
    save_restored(tmp_path / "whole", listed, looks, BOOK, KEYS, frame)
    save_restored(tmp_path / "part", listed, looks[1:], BOOK, KEYS, frame)
    whole, part = (load_state(tmp_path / name, KEYS) for name in ("whole", "part"))
    assert whole is not None
    assert part is not None
    assert (whole.manifest.created_at, part.manifest.created_at) == ("as it was stored", "now")
    assert part.manifest.files == listed.files[1:]


def test_another_key_or_no_file_is_no_state(tmp_path: Path) -> None:
    saved(tmp_path / "state", row("a"))
    assert load_state(tmp_path / "state", Keys(bytes(32), None)) is None
    assert load_state(tmp_path / "none", KEYS) is None


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.floats(0, 1, exclude_max=True), byte=st.binary(min_size=1, max_size=1), cut=st.booleans())
def test_a_damaged_state_is_none_or_still_readable(tmp_path: Path, at: float, byte: bytes, cut: bool) -> None:
    path = tmp_path / "state"
    saved(path, row("a"), row("b", (HOLE, 0, 9)))
    data = path.read_bytes()
    place = int(at * len(data))
    path.write_bytes(data[:place] if cut else data[:place] + byte + data[place + 1 :])
    state = load_state(path, KEYS)
    assert state is None or [file.path for file in state.manifest.files] == ["a", "b"]


TEXT = st.binary(min_size=1, max_size=6).map(os.fsdecode).filter(lambda name: "\0" not in name)


@given(names=st.lists(TEXT, max_size=5, unique=True), link=TEXT)
def test_any_name_survives_the_table(names: list[str], link: str) -> None:
    before = manifest(*(row(name, xattrs={f"user.{name}": "aa"}) for name in names))
    before.skipped.append((link, f"unreadable: {link}"))
    before.changed_while_read.append(link)
    assert decode_manifest(encode_manifest(before)) == before


def test_a_table_of_names_that_are_not_text_is_accepted() -> None:
    raw = encode_manifest(manifest(row("caf\udce9"), row("plain")))
    assert [file.path for file in parse_manifest(raw).files] == ["caf\udce9", "plain"]
    with pytest.raises(SnapshotError, match="canonical"):
        parse_manifest(raw.replace(b"Y2Fm6Q==", b"Y2Fm6R=="))


def known() -> Known:
    packs = [Pack(0, "p0", 100, "a" * 8), Pack(1, "p1", 100, "b" * 8)]
    chunks = [Chunk(f"{n:064x}", 50, 0, 50, 50 * (n % 2), packs[n // 2]) for n in range(4)]
    return Known(packs, chunks)


def test_rows_keep_their_numbers_while_every_chunk_is_used() -> None:
    kept = [Kept(row(f"f{n}", (n, 0, 50)), 1, n) for n in range(4)]
    table = tabulate(known(), kept, [])
    assert all(one is two for one, two in zip(table.files, kept, strict=True))
    assert [pack.key for pack in table.packs] == ["p0", "p1"]


def test_chunks_and_packs_that_nobody_uses_any_more_go() -> None:
    table = tabulate(known(), [Kept(row("f", (HOLE, 0, 9), (3, 0, 50), (2, 10, 20)), 1, 1)], [])
    assert [pack.key for pack in table.packs] == ["p1"]
    assert table.files[0].row.refs == ((HOLE, 0, 9), (1, 0, 50), (0, 10, 20))
    rows = manifest(table.files[0].row)
    rows.packs.extend(table.packs)
    rows.chunks.extend(table.chunks)
    check_refs(rows)
    assert [chunk.id for chunk in known_packs(rows).chunks] == [f"{2:064x}", f"{3:064x}"]


def test_fresh_files_share_known_chunks_and_twins_become_one() -> None:
    before = known()
    twin = Chunk(f"{1:064x}", 50, 0, 50, 0, Pack(0, "p9", 50, "c" * 8))
    fresh = [
        FrozenFile(path, 0o644, 0, 0, 1, 50, "", ((chunk, 0, 50),), {}, 7, 8)
        for path, chunk in (("a", twin), ("z", before.chunks[3]))
    ]
    table = tabulate(before, [Kept(row("m", (1, 0, 50)), 1, 1)], fresh)
    assert [file.row.path for file in table.files] == ["a", "m", "z"]
    assert [file.row.refs for file in table.files] == [((0, 0, 50),), ((0, 0, 50),), ((1, 0, 50),)]
    assert [pack.key for pack in table.packs] == ["p0", "p1"]


def test_two_files_that_together_are_a_third_make_one_chunk(box: Box, other: Box) -> None:
    """A bundle of two files has the bytes, and so the id, of another bundle: that is no second chunk."""
    (box.workspace / "a").write_text("one")
    (box.workspace / "b").write_text("two")
    box.freeze("s1")
    (box.workspace / "c").write_text("onetwo")
    other.thaw(box.freeze("s2", "s1"))
    assert (other.workspace / "c").read_text() == "onetwo"


def test_a_touched_file_is_told_from_the_others(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(name)
    before = walk(str(tmp_path))
    looks = [
        Kept(
            row(found.path, (HOLE, 0, 1))._replace(mtime_ns=found.stat.st_mtime_ns),
            found.stat.st_ctime_ns,
            found.stat.st_ino,
        )
        for found in before.files
    ]
    save_restored(tmp_path / "state", manifest(*(look.row for look in looks)), looks, BOOK, KEYS)
    state = load_state(tmp_path / "state")
    assert state is not None
    (tmp_path / "b").chmod(0o600)
    kept, touched = state.split(walk(str(tmp_path), RuleBook(own=("state",))).files)
    assert [one.row.path for one in kept] == ["a", "c"]
    assert [one.path for one in touched] == ["b"]
