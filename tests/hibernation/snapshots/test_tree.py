"""A manifest as folders: every entry is found, in the order of its bytes, whatever its name is made of."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.snapshot.format import ChunkRow, DirRow, FileRow, HardlinkRow, Manifest, PackRow, SymlinkRow
from hibernation.snapshots.tree import Tree

NAMES = st.binary(min_size=1, max_size=4).map(
    lambda raw: raw.replace(b"/", b"x").replace(b"\0", b"x").decode("utf-8", "surrogateescape")
)


def folder(path: str) -> DirRow:
    return DirRow(path, 0o755, 0, 0, 5, {})


def file(path: str, **more: Any) -> FileRow:
    return FileRow(path, 0o640, 0, 0, 7, 3, "ab" * 32, ((0, 0, 3),), {})._replace(**more)


def tree(*rows: Any) -> Tree:
    def of(kind: type) -> list[Any]:
        return [row for row in rows if isinstance(row, kind)]

    lists = {"files": of(FileRow), "symlinks": of(SymlinkRow), "hardlinks": of(HardlinkRow)}
    chunk = ChunkRow("ab" * 32, 0, 0, 3, 3, 0)
    return Tree(
        Manifest(
            snapshot="s",
            parent=None,
            created_at="now",
            packs=[PackRow("p/1", 3, "0" * 8, 0)],
            chunks=[chunk],
            dirs=[folder(""), *of(DirRow)],
            skipped=[],
            changed_while_read=[],
            unreadable_total=0,
            **lists,
        )
    )


SOME = tree(
    folder("a"),
    folder("a/b"),
    file("a/b/Notes.txt"),
    file("a/one"),
    SymlinkRow("a/link", "../../etc", 0, 0, 9),
    HardlinkRow("two", "a/one"),
    file("a.txt", mode=0o600),
)


@pytest.mark.parametrize(
    ("path", "names"),
    [("", ["a", "a.txt", "two"]), ("a", ["b", "link", "one"]), ("a/b", ["Notes.txt"]), ("no", [])],
)
def test_a_folder_lists_its_own(path: str, names: list[str]) -> None:
    assert [entry.name for entry in SOME.entries(path, "", 10)] == names


def test_every_kind_is_told() -> None:
    kinds = {entry.path: (entry.kind, entry.mode, entry.target) for entry in SOME.search("", "", "", 99)}
    assert kinds == {
        "a": ("dir", 0o755, ""),
        "a.txt": ("file", 0o600, ""),
        "two": ("file", 0o640, "a/one"),
        "a/b": ("dir", 0o755, ""),
        "a/link": ("symlink", None, "../../etc"),
        "a/one": ("file", 0o640, ""),
        "a/b/Notes.txt": ("file", 0o640, ""),
    }


@pytest.mark.parametrize("path", ["..", "a/..", "/a", "a/", "a//b", "b", "a/o", "a/one/x", "A"])
def test_only_what_is_listed_is_there(path: str) -> None:
    assert SOME.entry(path) is None


def test_a_search_looks_below_whatever_the_case() -> None:
    assert [e.path for e in SOME.search("", "NOTE", "", 9)] == ["a/b/Notes.txt"]
    assert [e.path for e in SOME.search("a", "o", "", 9)] == ["a/one", "a/b/Notes.txt"]
    assert [e.path for e in SOME.search("a", "o", "a/one", 9)] == ["a/b/Notes.txt"]
    assert SOME.search("a.t", "o", "", 9) == []


@given(st.sets(NAMES, min_size=1, max_size=20), st.integers(1, 5))
def test_pages_of_any_names_hold_each_one_once(names: set[str], limit: int) -> None:
    found = tree(folder("dir"), *(file(f"dir/{name}") for name in names))
    in_folder: list[str] = []
    while page := found.entries("dir", in_folder[-1] if in_folder else "", limit):
        in_folder += [entry.name for entry in page]
    below: list[str] = []
    while page := found.search("dir", "", below[-1] if below else "", limit):
        below += [entry.path for entry in page]
    assert in_folder == sorted(names, key=lambda name: name.encode("utf-8", "surrogateescape"))
    assert below == [f"dir/{name}" for name in in_folder]
    assert all(found.entry(f"dir/{name}") is not None for name in names)
