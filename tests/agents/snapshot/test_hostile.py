"""A table or a pack made by an enemy is refused by name, and nothing outside the target is ever touched."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agents.snapshot import thaw
from agents.snapshot.checksum import crc32_of
from agents.snapshot.cipher import MANIFEST
from agents.snapshot.codec import unzstd
from agents.snapshot.errors import SnapshotError
from agents.snapshot.format import MAX_MANIFEST, ChunkRow
from agents.snapshot.manifest import compress_manifest, seal_manifest
from agents.snapshot.spec import parse_spec
from tests.agents.snapshot.harness import KEYS, Box, Cloud, picture, same_crc

MIB = 1 << 20
Document = dict[str, Any]
_names = itertools.count()


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A folder beside the target that must come out of every test as it went in."""
    folder = tmp_path / "canary"
    folder.mkdir()
    (folder / "precious").write_text("precious")
    before = picture(folder)
    yield folder
    assert picture(folder) == before


@pytest.fixture
def frozen(box: Box) -> dict[str, Any]:
    (box.workspace / "d" / "e").mkdir(parents=True)
    (box.workspace / "d" / "small").write_text("small")
    (box.workspace / "big").write_bytes(random.Random(1).randbytes(2 * MIB))
    (box.workspace / "other").write_bytes(random.Random(2).randbytes(2 * MIB))
    os.truncate(box.workspace / "big", 3 * MIB)
    os.link(box.workspace / "d" / "small", box.workspace / "d" / "twin")
    (box.workspace / "link").symlink_to("d")
    Path(os.fsdecode(os.path.join(os.fsencode(box.workspace), b"caf\xe9"))).write_text("name")
    return box.freeze("s1")


def raw_table(cloud: Cloud, frozen: dict[str, Any]) -> bytes:
    stored = cloud.object_path(frozen["manifest"]["key"]).read_bytes()
    return unzstd(KEYS.unseal(stored, MANIFEST), MAX_MANIFEST)


def store_table(cloud: Cloud, frozen: dict[str, Any], raw: bytes) -> dict[str, Any]:
    """What a freeze would return whose machine made this table up, with the right keys and the right hashes."""
    stored = bytes(seal_manifest(compress_manifest(raw), KEYS))
    key = f"test/forged-{next(_names)}"
    cloud.object_path(key).write_bytes(stored)
    reference = {"size": len(stored), "sha256": hashlib.sha256(stored).hexdigest(), "id": KEYS.name(raw)}
    return frozen | {"manifest": {"key": key, **reference}}


def encoded(document: Document) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


def forged(cloud: Cloud, frozen: dict[str, Any], change: Callable[[Document], Any]) -> dict[str, Any]:
    document = json.loads(raw_table(cloud, frozen))
    change(document)
    return store_table(cloud, frozen, encoded(document))


def refused(target: Box, frozen: dict[str, Any]) -> str:
    with pytest.raises(SnapshotError) as failure:
        target.thaw(frozen)
    assert failure.value.code == "snapshot_unproven"
    return str(failure.value)


def add(kind: str, *row: Any) -> Callable[[Document], Any]:
    return lambda document: document[kind].append(list(row))


def file(path: str, **more: Any) -> list[Any]:
    row = {
        "mode": 0o644,
        "uid": 0,
        "gid": 0,
        "mtime": 1,
        "size": 0,
        "hash": "",
        "refs": [],
        "xattrs": {},
    } | more
    return [path, *row.values()]


def put(kind: str, row: int, column: int, value: Any) -> Callable[[Document], Any]:
    def change(document: Document) -> None:
        document[kind][row][column] = value

    return change


def overlap(document: Document) -> None:
    """Two chunks of the same pack at the same place."""
    first, second = [row for row in document["chunks"] if row[1] == document["chunks"][-1][1]][:2]
    second[2] = first[2]


def twice(document: Document) -> None:
    document["chunks"].append(list(document["chunks"][0]))


def claim_more(document: Document) -> None:
    """A hole of four exabytes costs the enemy nothing."""
    row = next(row for row in document["files"] if row[0] == "big")
    row[5], row[7] = row[5] + (1 << 61), [*row[7], [-1, 0, 1 << 61]]


def repeat(document: Document) -> None:
    """One stored chunk, read a thousand times."""
    row = next(row for row in document["files"] if row[0] == "big")
    row[5], row[7] = row[5] * 1000, row[7] * 1000


def deep(document: Document) -> None:
    document["dirs"] += [["d/" + "/".join("x" * n), 0o755, 0, 0, 1, {}] for n in range(1, 1002)]


BAD_TABLES: dict[str, tuple[Callable[[Document], Any], str]] = {
    "an absolute path": (add("files", *file("/etc/passwd")), "'/etc/passwd' is not a path inside"),
    "a path upwards": (add("files", *file("d/../../canary/precious")), "is not listed"),
    "a path that is upwards": (add("symlinks", "..", "x", 0, 0, 1), "'..' is not a path inside"),
    "a directory upwards": (add("dirs", "..", 0o755, 0, 0, 1, {}), "'..' is not a path inside"),
    "an empty name": (add("files", *file("d//x")), "is not listed"),
    "a file beneath a symlink": (add("files", *file("link/precious")), "the directory of 'link/precious'"),
    "a file beneath a file": (add("files", *file("big/x")), "the directory of 'big/x'"),
    "a name with NUL": (add("files", *file("d/a\0b")), "is not a path inside"),
    "a hidden NUL": (add("files", *file("\0AGE=")), "is not a path inside"),
    "a disguised path": (add("files", *file("\0L2V0Yy9wYXNzd2Q=")), "'/etc/passwd' is not a path inside"),
    "a name in two ways": (add("files", *file("\0Ymln")), "'big' is listed twice"),
    "text disguised": (add("files", *file("\0YQ==")), "not in canonical form"),
    "the thaw's own folder": (
        add("dirs", ".dumont-thaw", 0o755, 0, 0, 1, {}),
        "'.dumont-thaw' is not a path",
    ),
    "a name that is too long": (add("files", *file("n" * 256)), "too long"),
    "a tree that is too deep": (deep, "levels deep"),
    "a hard link to a symlink": (add("hardlinks", "h", "link"), "names no file"),
    "a hard link to the outside": (add("hardlinks", "h", "../canary/precious"), "names no file"),
    "a hard link to a directory": (add("hardlinks", "h", "d"), "names no file"),
    "a hard link to a hard link": (add("hardlinks", "h", "d/twin"), "names no file"),
    "a device": (add("files", *file("null", mode=0o020666)), "4095"),
    "a path twice": (add("symlinks", "big", "/etc", 0, 0, 1), "'big' is listed twice"),
    "an endless target": (add("symlinks", "s", "x" * 4096, 0, 0, 1), "impossible target"),
    "an empty target": (add("symlinks", "s", "", 0, 0, 1), "symlinks"),
    "another system's attribute": (
        add("files", *file("x", xattrs={"security.capability": "00"})),
        "'security.capability'",
    ),
    "attributes without end": (
        add("files", *file("x", xattrs={f"user.{n}": "" for n in range(1001)})),
        "<= 1000",
    ),
    "an attribute without end": (add("files", *file("x", xattrs={"user.a": "00" * 65_537})), "131072"),
    "a float": (put("files", 0, 4, 1.0), "float"),
    "a truth": (put("files", 0, 1, True), "bool"),
    "a text for a number": (put("files", 0, 5, "5"), "str"),
    "a number beyond 64 bits": (put("files", 0, 4, 1 << 70), "int"),
    "a negative size": (put("files", 0, 5, -1), ">= 0"),
    "a negative offset": (put("files", 0, 7, [[0, -5, 5]]), ">= 0"),
    "an empty run": (put("files", 0, 7, [[0, 0, 0]]), ">= 1"),
    "a chunk that is not there": (put("files", 0, 7, [[99, 0, 5]]), "refers outside its chunk"),
    "a file that is not covered": (put("files", 0, 5, 1 << 40), "its chunks cover"),
    "a digest that is none": (put("chunks", 0, 0, "z" * 64), "is no digest"),
    "a short digest": (put("chunks", 0, 0, "ab"), "too short"),
    "a checksum that is none": (put("packs", 0, 2, "z" * 8), "is no digest"),
    "a short checksum": (put("packs", 0, 2, "ab"), "too short"),
    "a codec of tomorrow": (put("chunks", 0, 5, 99), "unknown codec"),
    "a chunk of a gigabyte": (put("chunks", 0, 4, 1 << 30), "8388608"),
    "a chunk outside its pack": (put("chunks", 0, 2, 40 * MIB), "lies outside pack"),
    "a chunk of no pack": (put("chunks", 0, 1, 7), "names pack 7"),
    "chunks that overlap": (overlap, "overlaps"),
    "a chunk listed twice": (twice, "a chunk is listed twice"),
    "a pack of a gigabyte": (put("packs", 0, 1, 1 << 30), "42991616"),
    "a third tier": (put("packs", 0, 3, 2), "enum"),
    "a hole of exabytes": (claim_more, "it holds"),
    "a chunk read a thousand times": (repeat, "it holds"),
    "a row with too little": (lambda document: document["files"].append(["x"]), "length 9"),
    "a field of its own": (lambda document: document.update(more=1), "canonical"),
    "a field too few": (lambda document: document.pop("dirs"), "dirs"),
    "a format of tomorrow": (lambda document: document.update(format=3), "format 3 is not 2"),
    "a revision that is an option": (
        add("to_fetch", "model", "--help", "main", "hub", [], 1),
        "is no revision of a hub",
    ),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_a_bad_table_is_refused_by_name(
    other: Box, cloud: Cloud, frozen: dict[str, Any], canary: Path, name: str
) -> None:
    change, reason = BAD_TABLES[name]
    assert reason in refused(other, forged(cloud, frozen, change))
    assert list(other.workspace.iterdir()) == []


BAD_BYTES: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda raw: b"",
    "another document": lambda raw: b"[]",
    "an endless nest": lambda raw: raw.replace(b'"files":[', b'"files":' + b"[" * 100_000),
    "a key twice": lambda raw: raw.replace(b'"dirs":', b'"symlinks":[],"dirs":'),
    "not a number": lambda raw: raw.replace(b'"unreadable_total":0', b'"unreadable_total":NaN'),
    "minus zero": lambda raw: raw.replace(b'"unreadable_total":0', b'"unreadable_total":-0'),
    "a lone surrogate": lambda raw: raw.replace(b'"big"', b'"\\ud800"'),
    "bytes that are no text": lambda raw: raw.replace(b'"big"', b'"\xff"'),
    "a second document": lambda raw: raw + b"{}",
    "room to hide": lambda raw: raw.replace(b'"files":', b'"files": '),
    "half of it": lambda raw: raw[: len(raw) // 2],
}


@pytest.mark.parametrize("name", BAD_BYTES)
def test_what_is_no_table_is_refused(
    other: Box, cloud: Cloud, frozen: dict[str, Any], canary: Path, name: str
) -> None:
    raw = raw_table(cloud, frozen)
    changed = BAD_BYTES[name](raw)
    assert changed != raw
    refused(other, store_table(cloud, frozen, changed))
    assert list(other.workspace.iterdir()) == []


def test_what_is_unusual_but_harmless_comes_back(
    other: Box, cloud: Cloud, frozen: dict[str, Any], canary: Path
) -> None:
    def change(document: Document) -> None:
        document["symlinks"] += [["loop", "loop", 0, 0, 1], ["out", str(canary / "precious"), 0, 0, 1]]
        document["files"].append(file("suid", mode=0o6755))

    result = other.thaw(forged(cloud, frozen | {"files": frozen["files"] + 1}, change))
    assert (other.workspace / "suid").stat().st_mode & 0o7777 == 0o755
    assert {"path": "suid", "why": "setuid/setgid bit not restored"} in result["skipped"]
    assert os.readlink(other.workspace / "loop") == "loop"
    assert os.readlink(other.workspace / "out") == str(canary / "precious")


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def chunks_of(cloud: Cloud, frozen: dict[str, Any]) -> list[tuple[Path, ChunkRow]]:
    document = json.loads(raw_table(cloud, frozen))
    rows = [ChunkRow(*row) for row in document["chunks"]]
    return [(cloud.object_path(document["packs"][row.pack][0]), row) for row in rows]


def test_a_flipped_byte_in_the_table_writes_nothing(other: Box, cloud: Cloud, frozen: dict[str, Any]) -> None:
    path = cloud.object_path(frozen["manifest"]["key"])
    for at in (0, 15, path.stat().st_size // 2, -1):
        flip(path, at)
        refused(other, frozen)
        flip(path, at)
    assert list(other.workspace.iterdir()) == []


def test_a_flipped_byte_in_any_chunk_is_noticed(
    make_box: Callable[[str], Box], box: Box, cloud: Cloud, frozen: dict[str, Any], canary: Path
) -> None:
    whole = picture(box.workspace)
    for number, (path, chunk) in enumerate(chunks_of(cloud, frozen)):
        target = make_box(f"target-{number}")
        flip(path, chunk.offset + chunk.stored // 2)
        refused(target, frozen)
        flip(path, chunk.offset + chunk.stored // 2)
        for name, fact in picture(target.workspace).items():
            assert fact[0] != "file" or name.startswith(b".dumont-thaw") or fact == whole[name]


def test_a_pack_forged_to_its_own_crc_is_noticed(other: Box, cloud: Cloud, frozen: dict[str, Any]) -> None:
    """The checksum is one against accident: whoever wants to can keep it. What is sealed cannot be forged."""
    path, chunk = next(pair for pair in chunks_of(cloud, frozen) if pair[1].length == 2 * MIB)
    before = path.read_bytes()
    replace_bytes(path, chunk.offset + 100, same_crc(before[chunk.offset + 100 :][:5]))
    assert before != path.read_bytes()
    assert crc32_of([path.read_bytes()]) == crc32_of([before])
    assert "does not decrypt" in refused(other, frozen)


def replace_bytes(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def test_swapped_chunks_are_noticed(other: Box, cloud: Cloud, frozen: dict[str, Any]) -> None:
    """Each is sealed as itself: intact in another's place it does not open."""
    one, two = [(path, chunk) for path, chunk in chunks_of(cloud, frozen) if chunk.length == 2 * MIB]
    bytes_of = [path.read_bytes()[chunk.offset :][: chunk.stored] for path, chunk in (one, two)]
    assert len(bytes_of[0]) == len(bytes_of[1])
    replace_bytes(one[0], one[1].offset, bytes_of[1])
    replace_bytes(two[0], two[1].offset, bytes_of[0])
    assert "does not decrypt" in refused(other, frozen)


def test_a_replayed_older_chunk_is_noticed(
    box: Box, other: Box, cloud: Cloud, frozen: dict[str, Any]
) -> None:
    path, old = next(pair for pair in chunks_of(cloud, frozen) if pair[1].length == 2 * MIB)
    before = path.read_bytes()[old.offset :][: old.stored]
    for name in ("big", "other"):
        (box.workspace / name).write_bytes(random.Random(3).randbytes(2 * MIB))
    second = box.freeze("s2", "s1")
    path, new = next(pair for pair in chunks_of(cloud, second) if pair[1].length == 2 * MIB)
    assert new.stored == old.stored
    replace_bytes(path, new.offset, before)
    assert "does not decrypt" in refused(other, second)


def test_a_directory_that_becomes_a_symlink_meanwhile_leads_nowhere(
    other: Box, frozen: dict[str, Any], canary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = thaw.fill

    def redirect(*args: Any) -> None:
        folder = other.workspace / "d"
        if not folder.is_symlink():
            folder.rename(other.workspace / "moved")
            folder.symlink_to(canary)
        real(*args)

    monkeypatch.setattr(thaw, "fill", redirect)
    with pytest.raises((SnapshotError, OSError)):
        other.thaw(frozen)


WEIRD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**65), 2**65),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        ["", "..", "/", "../canary/precious", "\0Li4=", "link/precious", [], {}, [[]], [[-1, 0, 1]]]
    ),
)


@st.composite
def mutations(draw: st.DrawFn) -> tuple[Any, ...]:
    if draw(st.booleans()):
        return (
            "bytes",
            draw(st.floats(0, 1, exclude_max=True)),
            draw(st.binary(max_size=3)),
            draw(st.integers(0, 3)),
        )
    kind = draw(st.sampled_from(["packs", "chunks", "files", "dirs", "symlinks", "hardlinks", "skipped"]))
    return "row", kind, draw(st.integers(0, 9)), draw(st.integers(0, 8)), draw(WEIRD)


def mutated(raw: bytes, mutation: tuple[Any, ...]) -> bytes:
    if mutation[0] == "bytes":
        _, where, inserted, dropped = mutation
        at = int(where * len(raw))
        return raw[:at] + inserted + raw[at + dropped :]
    _, kind, row, column, value = mutation
    document = json.loads(raw)
    if rows := document[kind]:
        chosen = rows[row % len(rows)]
        chosen[column % len(chosen)] = value
    return encoded(document)


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(changes=st.lists(mutations(), min_size=1, max_size=2))
@example(changes=[("row", "files", 0, 1, 0o644)])
def test_any_mutation_is_refused_or_restored_inside_the_target(
    make_box: Callable[[str], Box],
    cloud: Cloud,
    frozen: dict[str, Any],
    canary: Path,
    changes: list[tuple[Any, ...]],
) -> None:
    raw = raw_table(cloud, frozen)
    before = picture(canary)
    changed = raw
    for change in changes:
        try:
            changed = mutated(changed, change)
        except ValueError:
            continue
    target = make_box(f"fuzzed-{next(_names)}")
    refusals = contextlib.suppress(SnapshotError, OSError) if changed != raw else contextlib.nullcontext()
    with refusals:
        target.thaw(store_table(cloud, frozen, changed))
    assert picture(canary) == before


@pytest.mark.parametrize(
    "expect", [None, [], {"files": 1}, {"files": -1, "bytes": 1}, {"files": True, "bytes": 1}]
)
def test_orders_that_do_not_say_what_to_expect_are_refused(
    other: Box, frozen: dict[str, Any], expect: Any
) -> None:
    with pytest.raises(SnapshotError, match="expect") as failure:
        parse_spec(other.thaw_spec(frozen) | {"expect": expect})
    assert failure.value.code == "bad_spec"
