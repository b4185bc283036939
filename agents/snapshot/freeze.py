"""Freeze: turn a workspace into packs and a manifest in the store, reading only what changed since the parent."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.snapshot.catalog import Catalog, FrozenFile, Pack, Table, tabulate
from agents.snapshot.errors import SnapshotError
from agents.snapshot.format import BUNDLE, SMALL_LIMIT, HardlinkRow, Manifest
from agents.snapshot.journal import Journal, pack_fact, packs_of
from agents.snapshot.manifest import pack_manifest
from agents.snapshot.packer import Packer
from agents.snapshot.pipeline import run_all
from agents.snapshot.progress import Progress, utc_now
from agents.snapshot.reader import Reader
from agents.snapshot.spec import FreezeSpec
from agents.snapshot.state import State, is_unchanged, load_state, save_state
from agents.snapshot.transfer import Transfer
from agents.snapshot.walk import Found, Tree, own_paths, walk

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
    files: list[FrozenFile]
    hardlinks: list[HardlinkRow]
    changed: list[str]


def freeze(spec: FreezeSpec, job_dir: Path, progress: Progress, transfer: Transfer) -> dict[str, Any]:
    """Store the workspace and return the job's result. The state file is replaced once the manifest is stored.

    Safe to repeat: packs that an earlier run of the same job stored are in its journal and are not sent again.
    Raises ``SnapshotError`` or ``OSError``; the workspace is never written to.
    """
    if not os.path.isdir(spec.workspace):
        raise SnapshotError("workspace_missing", f"{spec.workspace} is not a directory")
    progress.set(phase="walk")
    frozen_at = utc_now()
    exclude = [*spec.exclude, *own_paths(spec.workspace, job_dir, spec.state_file, spec.token_file)]
    tree = walk(spec.workspace, exclude)
    journal = Journal(job_dir / "journal")
    try:
        work = _Work(spec, progress, transfer, journal, Catalog(), frozen_at, tree, [], [], [])
        fresh = _split(work, _trusted_state(work))
        _store(work, fresh)
        manifest, table = _manifest(work)
        reference = _store_manifest(work, manifest)
        save_state(
            spec.state_file,
            snapshot=spec.snapshot,
            keys=spec.keys,
            exclude=exclude,
            files=work.files,
            dirs=tree.dirs,
            symlinks=tree.symlinks,
            hardlinks=work.hardlinks,
        )
        return _result(work, manifest, table, reference)
    finally:
        journal.close()


def _trusted_state(work: _Work) -> State | None:
    """Only the state of the parent is trusted: the packs of another snapshot may have been deleted meanwhile."""
    state = load_state(work.spec.state_file, work.spec.keys)
    if state is None or state.snapshot != work.spec.parent:
        return None
    for pack in state.packs:
        work.catalog.add_pack(pack)
    work.catalog.add_files(state.files.values())
    return state


def _split(work: _Work, state: State | None) -> list[Found]:
    """Take over the files that nobody touched since the parent; return those that must be read."""
    known = state.files if state else {}
    fresh = []
    for found in work.tree.files:
        before = known.get(found.path)
        if before is not None and is_unchanged(before, found):
            work.files.append(before)
        else:
            fresh.append(found)
    work.progress.set(
        phase="upload",
        files_total=len(work.tree.files),
        files_done=len(work.files),
        bytes_total=sum(found.stat.st_size for found in fresh),
    )
    return fresh


def _store(work: _Work, fresh: list[Found]) -> None:
    for pack in packs_of(work.journal):
        work.catalog.add_pack(pack)
    packer = Packer(lambda pack: _upload(work, pack))
    reader = Reader(work.spec.workspace, work.spec.keys, work.catalog, packer, work.progress)
    try:
        run_all(_tasks(reader, fresh), max(2, os.cpu_count() or 1))
    except BaseException:
        packer.abandon()
        raise
    finally:
        reader.close()
    packer.finish()
    outcome = reader.outcome
    stored = {file.path: file for file in outcome.files}
    work.files = sorted([*work.files, *stored.values()], key=lambda file: file.path)
    work.changed = sorted(set(outcome.changed))
    unreadable = dict(outcome.unreadable)
    work.tree.skipped += unreadable.items()
    work.tree.unreadable += len(unreadable)
    _keep_whole_links(work)


def _keep_whole_links(work: _Work) -> None:
    """Drop the further names of a file that could not be stored: they would point at nothing."""
    stored = {file.path for file in work.files}
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
    digest = hashlib.sha256()
    for part in pack.parts:
        digest.update(part)
    pack.sha256 = digest.hexdigest()
    pack.key = work.transfer.upload("pack", pack.tier, pack.parts, pack.size, pack.sha256)
    work.journal.append(pack_fact(pack))


def _manifest(work: _Work) -> tuple[Manifest, Table]:
    work.progress.set(phase="manifest")
    table = tabulate(work.files)
    manifest = Manifest(
        snapshot=work.spec.snapshot,
        parent=work.spec.parent,
        created_at=work.frozen_at,
        packs=table.packs,
        chunks=table.chunks,
        files=table.files,
        dirs=sorted(work.tree.dirs),
        symlinks=sorted(work.tree.symlinks),
        hardlinks=work.hardlinks,
        skipped=sorted(work.tree.skipped),
        changed_while_read=work.changed,
        unreadable_total=work.tree.unreadable,
    )
    return manifest, table


def _store_manifest(work: _Work, manifest: Manifest) -> dict[str, Any]:
    stored, name = pack_manifest(manifest, work.spec.keys)
    sha256 = hashlib.sha256(stored).hexdigest()
    key = work.transfer.upload("manifest", 0, [stored], len(stored), sha256)
    return {"key": key, "size": len(stored), "sha256": sha256, "id": name}


def _result(work: _Work, manifest: Manifest, table: Table, reference: dict[str, Any]) -> dict[str, Any]:
    known = {pack.key for pack in packs_of(work.journal)}
    new = [pack for pack in manifest.packs if pack.key in known]
    return {
        "snapshot": manifest.snapshot,
        "manifest": reference,
        "files": len(manifest.files) + len(manifest.hardlinks),
        "bytes_logical": sum(file.size for file in manifest.files),
        "bytes_stored_new": sum(pack.size for pack in new) + reference["size"],
        "packs_new": [{"key": pack.key, "size": pack.size, "sha256": pack.sha256} for pack in new],
        "skipped": [{"path": path, "why": why} for path, why in manifest.skipped[:_REPORTED]],
        "skipped_total": len(manifest.skipped),
        "unreadable_total": manifest.unreadable_total,
        "changed_while_read": manifest.changed_while_read[:_REPORTED],
        "changed_total": len(manifest.changed_while_read),
        "frozen_at": manifest.created_at,
    }
