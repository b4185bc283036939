"""A hostile or damaged manifest is refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest
import zstandard

from agents.snapshot.cipher import Keys
from agents.snapshot.errors import SnapshotError
from agents.snapshot.manifest import check_refs, parse_manifest, unpack_manifest

KEYS = Keys(bytes(32), None)
DIGEST = "ab" * 32
CRC32 = "1234abcd"


def document(**changes: Any) -> dict[str, Any]:
    return {
        "format": 2,
        "snapshot": "s",
        "parent": None,
        "created_at": "2026-01-01T00:00:00.000Z",
        "packs": [["p/1", 100, CRC32, 0]],
        "chunks": [[DIGEST, 0, 0, 50, 80, 1]],
        "files": [file("a")],
        "dirs": [["", 0o755, 0, 0, 1, {}], ["d", 0o755, 0, 0, 1, {}]],
        "symlinks": [["d/l", "/etc/passwd", 0, 0, 1]],
        "hardlinks": [["d/h", "a"]],
        "skipped": [],
        "changed_while_read": [],
        "unreadable_total": 0,
        "left_out": [],
        "to_fetch": [],
        **changes,
    }


def file(path: str, size: int = 80, refs: Any = ((0, 0, 80),), mode: int = 0o644, **more: Any) -> list[Any]:
    digest = more.get("digest", DIGEST)
    return [path, mode, 0, 0, 1, size, digest, [list(ref) for ref in refs], more.get("xattrs", {})]


def encoded(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


def parse(value: Any) -> None:
    check_refs(parse_manifest(encoded(value)))


def test_a_good_manifest_is_accepted() -> None:
    parse(document())


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../x", "a/../b", "d//x", "d/", ".", "", "d/\0x", "\ud800", ".dumont-thaw/0", "./x"],
)
def test_a_path_that_leaves_the_workspace_is_refused(path: str) -> None:
    for kind, row in [("files", file(path)), ("symlinks", [path, "x", 0, 0, 1]), ("hardlinks", [path, "a"])]:
        rows = [file("a"), row] if kind == "files" else [row]
        with pytest.raises(SnapshotError):
            parse(document(**{kind: rows}))


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 1},
        {"files": [file("a"), file("a")]},
        {"symlinks": [["d", "/etc", 0, 0, 1]]},
        {"symlinks": [["s", "/etc", 0, 0, 1]], "files": [file("s/passwd"), file("a")]},
        {"files": [file("missing/x"), file("a")]},
        {"hardlinks": [["h", "not listed"]]},
        {"files": [file("a", mode=0o20644)]},
        {"files": [file("a", mode=-1)]},
        {"files": [file("a", size=81)]},
        {"files": [file("a", refs=[(0, 1, 80)])]},
        {"files": [file("a", refs=[(1, 0, 80)])]},
        {"files": [file("a", refs=[(-2, 0, 80)])]},
        {"files": [file("a", refs=[(0, -1, 80)])]},
        {"files": [file("a", refs=[(0, 0, 0), (0, 0, 80)])]},
        {"files": [file("a", refs=[(True, 0, 80)])]},
        {"files": [file("a", size=2**70)]},
        {"files": [file("a", digest="zz")]},
        {"files": [file("a", xattrs={"security.capability": "00"})]},
        {"files": [file("a", xattrs={"user.x": "not hex"})]},
        {"files": [["a"]]},
        {"files": {"a": 1}},
        {"chunks": [[DIGEST, 0, 60, 50, 80, 1]]},
        {"chunks": [[DIGEST, 1, 0, 50, 80, 1]]},
        {"chunks": [[DIGEST, 0, 0, 50, 2**40, 1]]},
        {"chunks": [[DIGEST, 0, 0, 50, 80, 9]]},
        {"packs": [["p/1", 2**40, CRC32, 0]]},
        {"packs": [[7, 100, CRC32, 0]]},
        {"packs": [["p/1", 100, DIGEST, 0]]},
        {"packs": [["p/1", 100, CRC32[1:], 0]]},
        {"packs": [["p/1", 100, CRC32.upper(), 0]]},
        {"packs": [["p/1", 100, 0x1234ABCD, 0]]},
        {"dirs": None},
        {"symlinks": [["l", "", 0, 0, 1]]},
        {"snapshot": 7},
        {"unreadable_total": "0"},
    ],
)
def test_a_broken_rule_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(SnapshotError) as failure:
        parse(document(**changes))
    assert failure.value.code == "snapshot_unproven"


@pytest.mark.parametrize("raw", [b"", b"[]", b"null", b"{", b"\xff", b"[" * 100_000])
def test_what_is_not_a_manifest_is_refused(raw: bytes) -> None:
    with pytest.raises(SnapshotError):
        parse_manifest(raw)


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    packed = zstandard.ZstdCompressor().compress(b"\0" * (1 << 20))
    claim = packed[:4] + bytes([0b11100000]) + (2**45).to_bytes(8, "little") + b"\x01\x00\x00"
    for stored in (claim, b"not zstd", packed[:20], b""):
        with pytest.raises(SnapshotError):
            unpack_manifest(stored, KEYS, DIGEST)


def test_another_manifest_under_the_right_name_is_refused() -> None:
    raw = encoded(document())
    stored = zstandard.ZstdCompressor().compress(raw)
    assert unpack_manifest(stored, KEYS, KEYS.name(raw)).snapshot == "s"
    with pytest.raises(SnapshotError):
        unpack_manifest(stored, Keys(b"x" * 32, None), KEYS.name(raw))
