"""A manifest as stored bytes and back. Reading trusts nothing: a path that could escape, a row of the wrong shape
or a reference outside its chunk is refused by name before anyone acts on it.
"""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from agents.snapshot.cipher import MANIFEST, Keys
from agents.snapshot.codec import CODECS, unzstd, zstd
from agents.snapshot.errors import ManifestInvalid
from agents.snapshot.format import (
    FORMAT,
    HOLE,
    MAX_DEPTH,
    MAX_MANIFEST,
    MAX_NAME,
    MAX_TARGET,
    STAGING,
    Manifest,
)

_HEAD = re.compile(rb'\{"format":(\d{1,9}),')
_HEX = b"0123456789abcdef"
_NUL = b"\\u0000"
_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?\Z")
_REVISION = re.compile(r"[0-9a-f]{40}\Z")
_BAD_NAMES = frozenset({"", ".", ".."})
_FIELDS = tuple(Manifest.__dataclass_fields__)
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Manifest)


def encode_manifest(manifest: Manifest) -> bytes:
    """The manifest as JSON in its one canonical form. A text that is not UTF-8 travels as NUL and base64."""
    document: dict[str, Any] = {"format": FORMAT} | {name: getattr(manifest, name) for name in _FIELDS}
    try:
        return _encoder.encode(document)
    except UnicodeEncodeError:
        return _encoder.encode({name: _mapped(value, _escape, _is_odd) for name, value in document.items()})


def compress_manifest(raw: bytes) -> bytes:
    """What is sealed and stored, for an encoded manifest."""
    return zstd(raw, level=1)


def seal_manifest(frame: bytes, keys: Keys) -> bytes | bytearray:
    """The stored bytes of a compressed manifest."""
    return keys.seal(frame, MANIFEST)


def unpack_manifest(stored: bytes, keys: Keys, expected_id: str) -> Manifest:
    """The checked manifest, or ``SnapshotError('snapshot_unproven')`` saying what is wrong."""
    return read_frame(unseal_manifest(stored, keys), keys, expected_id)


def unseal_manifest(stored: bytes, keys: Keys) -> bytes:
    """The compressed manifest in the stored bytes, or ``SnapshotError('snapshot_unproven')``."""
    return bytes(keys.unseal(stored, MANIFEST))


def read_frame(frame: bytes, keys: Keys, expected_id: str) -> Manifest:
    """The checked manifest of an unsealed one, or ``SnapshotError('snapshot_unproven')`` saying what is wrong."""
    raw = unzstd(frame, MAX_MANIFEST)
    if keys.name(raw) != expected_id:
        raise ManifestInvalid("the manifest's id is not the one recorded")
    return parse_manifest(raw)


def decode_manifest(raw: bytes) -> Manifest:
    """The rows in ``raw``, of the right shapes and within their bounds, and not checked any further."""
    head = _HEAD.match(raw)
    if head is None:
        raise ManifestInvalid("this is no manifest")
    if int(head[1]) != FORMAT:
        raise ManifestInvalid(f"format {int(head[1])} is not {FORMAT}")
    try:
        manifest = _decoder.decode(raw)
        if _NUL in raw:
            rows = {name: _mapped(getattr(manifest, name), _unescape, _is_escaped) for name in _FIELDS}
            manifest = Manifest(**rows)
    except (ValueError, RecursionError) as error:
        raise ManifestInvalid(f"the manifest cannot be read: {error}") from error
    return manifest


def parse_manifest(raw: bytes) -> Manifest:
    """The manifest in ``raw``, every row checked except that the references add up: see ``check_refs``.

    Only the canonical form is taken: no two readers can see two things in it, whatever they make of a key that
    stands there twice.
    """
    manifest = decode_manifest(raw)
    _check_paths(manifest)
    _check_digests(manifest)
    _check_details(manifest)
    _want(encode_manifest(manifest) == raw, "the manifest is not in canonical form")
    return manifest


def check_refs(manifest: Manifest) -> None:
    """Every chunk lies alone inside its pack, every reference inside its chunk, and they cover each file exactly."""
    _check_chunks(manifest)
    lengths = [chunk.length for chunk in manifest.chunks]
    for file in manifest.files:
        covered = 0
        for chunk, offset, length in file.refs:
            if chunk != HOLE and (chunk >= len(lengths) or offset + length > lengths[chunk]):
                raise ManifestInvalid(f"{file.path!r} refers outside its chunk")
            covered += length
        if covered != file.size:
            raise ManifestInvalid(f"{file.path!r} has {file.size} bytes, its chunks cover {covered}")


def check_size(manifest: Manifest, files: int, size: int) -> None:
    """It holds as many files and bytes as its freeze reported: a table that claims more fills no disk."""
    found = count(manifest)
    _want(found == (files, size), f"it holds {found[0]} files of {found[1]} bytes, not {files} of {size}")


def count(manifest: Manifest) -> tuple[int, int]:
    """``(files, bytes)`` as a freeze reports them: hard links count as files, their bytes count once."""
    return len(manifest.files) + len(manifest.hardlinks), sum(file.size for file in manifest.files)


def _check_chunks(manifest: Manifest) -> None:
    ends = [0] * len(manifest.packs)
    for chunk in sorted(manifest.chunks, key=lambda chunk: (chunk.pack, chunk.offset)):
        what = f"chunk {chunk.id}"
        _want(chunk.pack < len(ends), f"{what} names pack {chunk.pack}, which is not listed")
        pack = manifest.packs[chunk.pack]
        _want(chunk.offset + chunk.stored <= pack.size, f"{what} lies outside pack {pack.key}")
        _want(chunk.offset >= ends[chunk.pack], f"{what} overlaps another one in pack {pack.key}")
        ends[chunk.pack] = chunk.offset + chunk.stored
        _want(chunk.codec in CODECS, f"{what} has the unknown codec {chunk.codec}")


def _check_paths(manifest: Manifest) -> None:
    """No path twice, none that leaves the workspace, and each one's parent a directory of this manifest.

    A parent is a checked path itself, so of each path only its last name is looked at. With that rule no path can
    lead through a symlink of the same manifest.
    """
    dirs = {row.path for row in manifest.dirs}
    kinds: tuple[Sequence[Any], ...] = (manifest.files, manifest.symlinks, manifest.hardlinks, manifest.dirs)
    paths = [row.path for kind in kinds for row in kind if row.path or kind is not manifest.dirs]
    for path in paths:
        parent, _, name = path.rpartition("/")
        if name in _BAD_NAMES or path[0] == "/" or "\0" in name:
            raise ManifestInvalid(f"{path!r} is not a path inside the workspace")
        if parent and parent not in dirs:
            raise ManifestInvalid(f"the directory of {path!r} is not listed")
        if len(name) > MAX_NAME // 4 and len(_encoded(name)) > MAX_NAME:
            raise ManifestInvalid(f"a name in {path!r} is too long")
    deepest = max((path.count("/") for path in dirs), default=0)
    _want(deepest < MAX_DEPTH, f"a directory lies {deepest} levels deep")
    _check_unique(manifest, paths)
    _check_hardlinks(manifest)


def _check_unique(manifest: Manifest, paths: list[str]) -> None:
    seen = set(paths)
    _want(STAGING not in seen, f"{STAGING!r} is not a path inside the workspace")
    roots = sum(not row.path for row in manifest.dirs)
    if len(seen) != len(paths) or roots > 1:
        twice = Counter(paths).most_common(1)[0][0] if paths else ""
        raise ManifestInvalid(f"{twice!r} is listed twice")


def _check_hardlinks(manifest: Manifest) -> None:
    if manifest.hardlinks:
        files = {file.path for file in manifest.files}
        for link in manifest.hardlinks:
            _want(link.target in files, f"hard link {link.path!r} names no file of the manifest")


def _check_digests(manifest: Manifest) -> None:
    names = [chunk.id for chunk in manifest.chunks]
    _want(len(set(names)) == len(names), "a chunk is listed twice")
    keys = [pack.key for pack in manifest.packs]
    _want(len(set(keys)) == len(keys), "a pack is listed twice")
    _check_hex(names + [file.hash for file in manifest.files if file.hash], 64)
    _check_hex([pack.crc32 for pack in manifest.packs], 8)


def _check_hex(digests: list[str], digits: int) -> None:
    for digest in digests if not _is_hex("".join(digests)) else ():
        _want(_is_hex(digest), f"{digest!r} is no digest")
    _want({len(digest) for digest in digests} <= {digits}, "a digest is too short")


def _check_details(manifest: Manifest) -> None:
    for symlink in manifest.symlinks:
        fits = len(_encoded(symlink.target)) <= MAX_TARGET and "\0" not in symlink.target
        _want(fits, f"symlink {symlink.path!r} has an impossible target")
    _check_to_fetch(manifest)
    for kind in (manifest.files, manifest.dirs):
        for row in kind:
            if row.xattrs:
                _check_xattrs(row.path, row.xattrs)


def _check_to_fetch(manifest: Manifest) -> None:
    """They end up in a command that somebody runs."""
    for row in manifest.to_fetch:
        good = _REPO.match(row.repo) and _REVISION.match(row.revision) and not row.path.startswith("/")
        named = good and not any(name.startswith(("-", "/")) for name in row.files)
        _want(bool(named), f"{row.repo!r} at {row.revision!r} is no revision of a hub")


def _check_xattrs(path: str, xattrs: dict[str, str]) -> None:
    for name, content in xattrs.items():
        good = name.startswith("user.") and len(_encoded(name)) <= MAX_NAME and "\0" not in name
        _want(good, f"{path!r}: bad extended attribute {name!r}")
        _want(_is_hex(content) and len(content) % 2 == 0, f"{path!r}: attribute {name!r} is not in hex")


def _is_hex(text: str) -> bool:
    return text.isascii() and not text.encode().translate(None, _HEX)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _mapped(value: Any, change: Callable[[str], str], concerns: Callable[[Any], bool]) -> Any:
    """``value`` with every text in it changed, rows that it does not concern left as they are."""
    if isinstance(value, list):
        return [_mapped(row, change, concerns) if concerns(row) else row for row in value]
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(name): _mapped(item, change, concerns) for name, item in value.items()}
    if isinstance(value, tuple):
        return _same_kind(value, (_mapped(item, change, concerns) for item in value))
    return value


def _same_kind(row: tuple[Any, ...], items: Iterable[Any]) -> tuple[Any, ...]:
    make = getattr(row, "_make", tuple)
    made: tuple[Any, ...] = make(items)
    return made


def _is_odd(row: Any) -> bool:
    try:
        _encoder.encode(row)
    except UnicodeEncodeError:
        return True
    return False


def _is_escaped(row: Any) -> bool:
    return _NUL in _encoder.encode(row)


def _escape(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return "\0" + base64.b64encode(_encoded(text)).decode()
    return text


def _unescape(text: str) -> str:
    if not text.startswith("\0"):
        return text
    return base64.b64decode(text[1:], validate=True).decode("utf-8", "surrogateescape")


def _want(good: bool, message: str) -> None:
    if not good:
        raise ManifestInvalid(message)
