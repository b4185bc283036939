"""Freeze: turn a workspace into packs and a manifest in the store, reading only what changed since the parent."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents.snapshot.catalog import Catalog, FrozenFile, Kept, Known, Pack, Table, known_packs, tabulate
from agents.snapshot.checksum import crc32_of
from agents.snapshot.errors import SnapshotError
from agents.snapshot.format import BUNDLE, SMALL_LIMIT, HardlinkRow, LeftOutRow, Manifest
from agents.snapshot.journal import (
    Adopted,
    Journal,
    adopt,
    journal_path,
    open_packs_journal,
    pack_fact,
    state_fact,
)
from agents.snapshot.manifest import compress_manifest, count, encode_manifest, seal_manifest
from agents.snapshot.packer import Packer
from agents.snapshot.pipeline import closed_after, run_all
from agents.snapshot.progress import Progress, utc_now
from agents.snapshot.reader import Reader
from agents.snapshot.rules import RuleBook
from agents.snapshot.spec import FreezeSpec
from agents.snapshot.state import State, load_state, save_state
from agents.snapshot.transfer import Transfer
from agents.snapshot.walk import Found, Tree, own_paths, walk

MOST_READERS = 4
"""Each holds a chunk, its encoded and its sealed bytes: up to 32 MiB. Two or three fill any network."""
_REPORTED = 200


@dataclass(slots=True)
class _Work:
    """One freeze while it runs: what was found, what is known, what got stored."""

    spec: FreezeSpec
    progress: Progress
    transfer: Transfer
    journal: Journal
    catalog: Catalog
    frozen_at: str
    tree: Tree
    known: Known
    kept: list[Kept]
    fresh: list[FrozenFile]
    hardlinks: list[HardlinkRow]
    changed: list[str]
    new_packs: set[str] = field(default_factory=set)


def freeze(spec: FreezeSpec, job_dir: Path, progress: Progress, transfer: Transfer) -> dict[str, Any]:
    """Store the workspace and return the job's result. The state file is replaced once the manifest is stored.

    Safe to repeat: packs that an earlier freeze since the same parent stored are in the journal beside the state
    file, and are not sent again.
    Raises ``SnapshotError`` or ``OSError``; the workspace is never written to.
    """
    if not os.path.isdir(spec.workspace):
        raise SnapshotError("workspace_missing", f"{spec.workspace} is not a directory")
    progress.set(phase="walk")
    progress.follow(lambda: transfer.moved)
    frozen_at = utc_now()
    own = own_paths(spec.workspace, job_dir, spec.state_file, journal_path(spec.state_file), spec.token_file)
    book = RuleBook(spec.ignore, own, spec.leave_out_model_cache)
    tree = walk(spec.workspace, book)
    journal = open_packs_journal(spec)
    with closed_after(journal):
        work = _Work(spec, progress, transfer, journal, Catalog(), frozen_at, tree, Known(), [], [], [], [])
        adopted = adopt(journal)
        fresh = _split(work, _trusted_state(work, adopted))
        _store(work, fresh, adopted)
        manifest, table = _manifest(work)
        raw = encode_manifest(manifest)
        frame = compress_manifest(raw)
        reference = _store_manifest(work, frame, spec.keys.name(raw))
        journal.append(state_fact(spec.snapshot))
        save_state(spec.state_file, frame, table.files, book, spec.keys)
        return _result(work, manifest, reference)


def _trusted_state(work: _Work, adopted: Adopted) -> State | None:
    """Only two states are trusted: the parent's, and that of a freeze since then which the journal vouches for.

    The packs of any other snapshot may have been deleted meanwhile.
    """
    state = load_state(work.spec.state_file, work.spec.keys)
    if state is None or state.manifest.snapshot not in {work.spec.parent, *adopted.snapshots}:
        return None
    work.known = known_packs(state.manifest)
    return state


def _split(work: _Work, state: State | None) -> list[Found]:
    """Take over the files that nobody touched since the parent; return those that must be read."""
    fresh = work.tree.files
    if state:
        work.kept, fresh = state.split(fresh)
        work.catalog.add_known(work.known, state.manifest.files if fresh else ())
    work.progress.set(
        phase="upload",
        files_total=len(work.tree.files),
        files_done=len(work.kept),
        bytes_total=sum(found.stat.st_size for found in fresh),
    )
    return fresh


def _store(work: _Work, fresh: list[Found], adopted: Adopted) -> None:
    for pack in adopted.packs:
        work.catalog.add_pack(pack)
        work.new_packs.add(pack.key)
    readers = min(max(2, os.cpu_count() or 1), MOST_READERS)
    packer = Packer(lambda pack: _upload(work, pack), lambda: work.transfer.moved, readers)
    reader = Reader(work.spec.workspace, work.spec.keys, work.catalog, packer, work.progress)
    with closed_after(reader):
        try:
            run_all(_tasks(reader, fresh), readers)
        except BaseException:
            packer.abandon()
            raise
        packer.finish()
    outcome = reader.outcome
    work.fresh = list({file.path: file for file in outcome.files}.values())
    work.changed = sorted(set(outcome.changed))
    unreadable = dict(outcome.unreadable)
    work.tree.skipped += unreadable.items()
    work.tree.unreadable += len(unreadable)
    _keep_whole_links(work)


def _keep_whole_links(work: _Work) -> None:
    """Drop the further names of a file that could not be stored: they would point at nothing."""
    if work.tree.hardlinks:
        stored = {file.row.path for file in work.kept} | {file.path for file in work.fresh}
        work.hardlinks = [link for link in work.tree.hardlinks if link.target in stored]
        work.changed += [link.path for link in work.tree.hardlinks if link.target not in stored]


def _tasks(reader: Reader, fresh: list[Found]) -> Iterator[Callable[[], None]]:
    """Small files first, by extension and path: alike files compress together, and tier 0 is stored first."""
    small = [found for found in fresh if found.stat.st_size < SMALL_LIMIT]
    small.sort(key=lambda found: (os.path.splitext(found.path)[1], found.path))
    batch: list[Found] = []
    size = 0
    for found in small:
        if batch and size + found.stat.st_size > BUNDLE:
            yield reader.bundle_task(batch)
            batch, size = [], 0
        batch.append(found)
        size += found.stat.st_size
    if batch:
        yield reader.bundle_task(batch)
    for found in fresh:
        if found.stat.st_size >= SMALL_LIMIT:
            yield from reader.grid_tasks(found)


def _upload(work: _Work, pack: Pack) -> None:
    pack.crc32 = crc32_of(pack.parts)
    pack.key = work.transfer.upload("pack", pack.tier, pack.parts, pack.size, pack.crc32)
    work.journal.append(pack_fact(pack))
    work.new_packs.add(pack.key)
    work.progress.add(size=sum(chunk.length for chunk in pack.chunks))


def _manifest(work: _Work) -> tuple[Manifest, Table]:
    work.progress.set(phase="manifest")
    table = tabulate(work.known, work.kept, work.fresh)
    manifest = Manifest(
        snapshot=work.spec.snapshot,
        parent=work.spec.parent,
        created_at=work.frozen_at,
        packs=table.packs,
        chunks=table.chunks,
        files=[file.row for file in table.files],
        dirs=sorted(work.tree.dirs),
        symlinks=sorted(work.tree.symlinks),
        hardlinks=work.hardlinks,
        skipped=sorted(work.tree.skipped),
        changed_while_read=work.changed,
        unreadable_total=work.tree.unreadable,
        left_out=_biggest(work.tree.left_out),
        to_fetch=work.tree.to_fetch,
    )
    return manifest, table


def _biggest(rows: list[LeftOutRow]) -> list[LeftOutRow]:
    return sorted(rows, key=lambda row: (-row.bytes, row.path))[:_REPORTED]


def _store_manifest(work: _Work, frame: bytes, name: str) -> dict[str, Any]:
    stored = seal_manifest(frame, work.spec.keys)
    key = work.transfer.upload("manifest", 0, [stored], len(stored), crc32_of([stored]))
    return {"key": key, "size": len(stored), "sha256": hashlib.sha256(stored).hexdigest(), "id": name}


def _result(work: _Work, manifest: Manifest, reference: dict[str, Any]) -> dict[str, Any]:
    new = [pack for pack in manifest.packs if pack.key in work.new_packs]
    files, size = count(manifest)
    return {
        "snapshot": manifest.snapshot,
        "manifest": reference,
        "files": files,
        "bytes_logical": size,
        "bytes_stored_new": sum(pack.size for pack in new) + reference["size"],
        "packs_new": [{"key": pack.key, "size": pack.size, "crc32": pack.crc32} for pack in new],
        "skipped": [{"path": path, "why": why} for path, why in manifest.skipped[:_REPORTED]],
        "skipped_total": len(manifest.skipped),
        "unreadable_total": manifest.unreadable_total,
        "changed_while_read": manifest.changed_while_read[:_REPORTED],
        "changed_total": len(manifest.changed_while_read),
        "left_out": [row._asdict() for row in manifest.left_out],
        "left_out_total": len(work.tree.left_out),
        "left_out_files": sum(row.files for row in work.tree.left_out),
        "left_out_bytes": sum(row.bytes for row in work.tree.left_out),
        "left_out_counted": work.tree.is_counted,
        "to_fetch": [row._asdict() for row in manifest.to_fetch[:_REPORTED]],
        "frozen_at": manifest.created_at,
    }
