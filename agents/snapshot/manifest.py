"""A manifest as stored bytes and back. Reading trusts nothing: a path that could escape, a row of the wrong shape
or a reference outside its chunk is refused by name before anyone acts on it.
"""

from __future__ import annotations

import json
from typing import Any

from agents.snapshot.cipher import MANIFEST, Keys
from agents.snapshot.codec import CODECS, unzstd, zstd
from agents.snapshot.errors import ManifestInvalid
from agents.snapshot.format import (
    CELL,
    FORMAT,
    HOLE,
    MAX_MANIFEST,
    MAX_PACK,
    STAGING,
    ChunkRow,
    DirRow,
    FileRow,
    HardlinkRow,
    Manifest,
    PackRow,
    Ref,
    SymlinkRow,
)

_MAX_SIZE = 1 << 62
_MAX_TIME = 1 << 63
_MAX_ID = 1 << 32
_HEX = frozenset("0123456789abcdef")


def pack_manifest(manifest: Manifest, keys: Keys) -> tuple[bytes | bytearray, str]:
    """``(stored bytes, id)``. JSON in ASCII: a name that is not UTF-8 travels as lone surrogates."""
    rows = {name: getattr(manifest, name) for name in Manifest.__dataclass_fields__}
    raw = json.dumps({"format": FORMAT, **rows}, separators=(",", ":")).encode()
    return keys.seal(zstd(raw), MANIFEST), keys.name(raw)


def unpack_manifest(stored: bytes, keys: Keys, expected_id: str) -> Manifest:
    """The checked manifest, or ``SnapshotError('snapshot_unproven')`` saying what is wrong."""
    raw = unzstd(keys.unseal(stored, MANIFEST), MAX_MANIFEST)
    if keys.name(raw) != expected_id:
        raise ManifestInvalid("the manifest's id is not the one recorded")
    return parse_manifest(raw)


def parse_manifest(raw: bytes) -> Manifest:
    """The manifest in ``raw``, every row checked except that the references add up: see ``check_refs``."""
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ManifestInvalid(f"the manifest is not JSON: {error}") from error
    _want(isinstance(document, dict), "the manifest is not an object")
    _want(document.get("format") == FORMAT, f"format {document.get('format')!r} is not {FORMAT}")
    manifest = _manifest(document)
    _check_paths(manifest)
    return manifest


def check_refs(manifest: Manifest) -> None:
    """Every chunk lies inside its pack, every reference inside its chunk, and they cover each file exactly."""
    for chunk in manifest.chunks:
        _want(
            chunk.pack < len(manifest.packs), f"chunk {chunk.id} names pack {chunk.pack}, which is not listed"
        )
        pack = manifest.packs[chunk.pack]
        _want(chunk.offset + chunk.stored <= pack.size, f"chunk {chunk.id} lies outside pack {pack.key}")
    lengths = [chunk.length for chunk in manifest.chunks]
    for file in manifest.files:
        for chunk_index, offset, length in file.refs:
            inside = chunk_index == HOLE or (
                chunk_index < len(lengths) and offset + length <= lengths[chunk_index]
            )
            _want(inside, f"{file.path!r} refers outside its chunk")
        covered = sum(ref[2] for ref in file.refs)
        _want(covered == file.size, f"{file.path!r} has {file.size} bytes, its chunks cover {covered}")


def _manifest(document: dict[str, Any]) -> Manifest:
    parent = document.get("parent")
    return Manifest(
        snapshot=_text(document.get("snapshot"), "snapshot"),
        parent=None if parent is None else _text(parent, "parent"),
        created_at=_text(document.get("created_at"), "created_at"),
        packs=[_pack(row) for row in _rows(document, "packs", 4)],
        chunks=[_chunk(row) for row in _rows(document, "chunks", 6)],
        files=[_file(row) for row in _rows(document, "files", 9)],
        dirs=[_dir(row) for row in _rows(document, "dirs", 6)],
        symlinks=[_symlink(row) for row in _rows(document, "symlinks", 5)],
        hardlinks=[
            HardlinkRow(_text(row[0], "hard link"), _text(row[1], "hard link"))
            for row in _rows(document, "hardlinks", 2)
        ],
        skipped=[
            (_text(row[0], "skipped"), _text(row[1], "skipped")) for row in _rows(document, "skipped", 2)
        ],
        changed_while_read=[_text(path, "changed") for path in _list(document, "changed_while_read")],
        unreadable_total=_number(document.get("unreadable_total"), _MAX_SIZE, "unreadable_total"),
    )


def _pack(row: list[Any]) -> PackRow:
    key = _text(row[0], "pack key")
    what = f"pack {key}"
    return PackRow(key, _number(row[1], MAX_PACK, what), _digest(row[2], what), _number(row[3], 1, what))


def _chunk(row: list[Any]) -> ChunkRow:
    name = _digest(row[0], "chunk id")
    what = f"chunk {name}"
    chunk = ChunkRow(
        name,
        _number(row[1], _MAX_ID, what),
        _number(row[2], MAX_PACK, what),
        _number(row[3], MAX_PACK, what),
        _number(row[4], CELL, what),
        _number(row[5], 255, what),
    )
    _want(chunk.codec in CODECS, f"{what} has the unknown codec {chunk.codec}")
    return chunk


def _file(row: list[Any]) -> FileRow:
    path = _text(row[0], "file")
    what = f"file {path!r}"
    digest = row[6]
    return FileRow(
        path,
        *_meta(row, what),
        _number(row[5], _MAX_SIZE, what),
        "" if digest == "" else _digest(digest, what),
        _refs(row[7], what),
        _xattrs(row[8], what),
    )


def _refs(value: Any, what: str) -> tuple[Ref, ...]:
    _want(isinstance(value, list), f"{what}: references are not a list")
    refs = []
    for ref in value:
        good = isinstance(ref, list) and len(ref) == 3 and all(type(number) is int for number in ref)
        _want(good and ref[0] >= HOLE and ref[1] >= 0 and 0 < ref[2] <= _MAX_SIZE, f"{what}: bad reference")
        refs.append((ref[0], ref[1], ref[2]))
    return tuple(refs)


def _dir(row: list[Any]) -> DirRow:
    path = _text(row[0], "directory")
    return DirRow(path, *_meta(row, f"directory {path!r}"), _xattrs(row[5], f"directory {path!r}"))


def _symlink(row: list[Any]) -> SymlinkRow:
    path, target = _text(row[0], "symlink"), _text(row[1], "symlink")
    what = f"symlink {path!r}"
    _want(0 < len(_encoded(target)) < 4096 and "\0" not in target, f"{what} has an impossible target")
    ids = (_number(row[2], _MAX_ID, what), _number(row[3], _MAX_ID, what))
    return SymlinkRow(path, target, *ids, _time(row[4], what))


def _meta(row: list[Any], what: str) -> tuple[int, int, int, int]:
    return (
        _number(row[1], 0o7777, what),
        _number(row[2], _MAX_ID, what),
        _number(row[3], _MAX_ID, what),
        _time(row[4], what),
    )


def _xattrs(value: Any, what: str) -> dict[str, str]:
    _want(isinstance(value, dict), f"{what}: extended attributes are not an object")
    for name, content in value.items():
        good = name.startswith("user.") and isinstance(content, str) and set(content) <= _HEX
        _want(good and len(content) % 2 == 0, f"{what}: bad extended attribute {name!r}")
    return dict(value)


def _check_paths(manifest: Manifest) -> None:
    """No path twice, none that leaves the workspace, and each one's parent a directory of this manifest.

    With the last rule no path can lead through a symlink of the same manifest.
    """
    dirs = {row.path for row in manifest.dirs}
    seen: set[bytes] = set()
    kinds = (manifest.dirs, manifest.files, manifest.symlinks, manifest.hardlinks)
    for path in (row.path for kind in kinds for row in kind if row.path or kind is not manifest.dirs):
        _want(_is_beneath(path), f"{path!r} is not a path inside the workspace")
        encoded = _encoded(path)
        _want(encoded not in seen, f"{path!r} is listed twice")
        seen.add(encoded)
        parent = path.rpartition("/")[0]
        _want(parent == "" or parent in dirs, f"the directory of {path!r} is not listed")
    _check_hardlinks(manifest)


def _check_hardlinks(manifest: Manifest) -> None:
    if manifest.hardlinks:
        files = {file.path for file in manifest.files}
        for link in manifest.hardlinks:
            _want(link.target in files, f"hard link {link.path!r} names no file of the manifest")


def _is_beneath(path: str) -> bool:
    parts = path.split("/")
    return "\0" not in path and not {"", ".", ".."} & set(parts) and parts[0] != STAGING


def _encoded(path: str) -> bytes:
    try:
        return path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise ManifestInvalid(f"{path!r} is not a file name") from error


def _rows(document: dict[str, Any], name: str, width: int) -> list[list[Any]]:
    rows = _list(document, name)
    for row in rows:
        _want(isinstance(row, list) and len(row) == width, f"a row of {name!r} has the wrong shape")
    return rows


def _list(document: dict[str, Any], name: str) -> list[Any]:
    value = document.get(name)
    if not isinstance(value, list):
        raise ManifestInvalid(f"{name!r} is not a list")
    return value


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise ManifestInvalid(f"{what}: not a text")
    return value


def _digest(value: Any, what: str) -> str:
    _want(isinstance(value, str) and len(value) == 64 and set(value) <= _HEX, f"{what}: bad digest")
    return str(value)


def _number(value: Any, most: int, what: str) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise ManifestInvalid(f"{what}: {value!r} is not a number from 0 to {most}")
    return value


def _time(value: Any, what: str) -> int:
    if type(value) is not int or not -_MAX_TIME < value < _MAX_TIME:
        raise ManifestInvalid(f"{what}: {value!r} is not a time")
    return value


def _want(good: bool, message: str) -> None:
    if not good:
        raise ManifestInvalid(message)
