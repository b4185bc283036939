"""Looking into a stored snapshot without a machine: its folders, and the bytes of single files."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Iterator

from hibernation.domain.errors import Conflict, DumontError, NotFound, no_instance
from hibernation.domain.states import SnapshotState
from hibernation.models import Instance, Snapshot
from hibernation.services.damage import record_damage
from hibernation.services.keys import keys_of
from hibernation.services.proving import manifest_ref
from hibernation.snapshots.content import Content, Damaged
from hibernation.snapshots.manifest import check_manifest_complete, read_manifest
from hibernation.snapshots.registry import get_store
from hibernation.snapshots.tree import Entry, Tree
from hibernation.snapshots.verification import Fault

log = logging.getLogger(__name__)

MAX_TABLE = 128 << 20
"""Bytes of a decoded manifest. Parsing takes several times as many, once and by one request at a time."""
MAX_KEPT = 64 << 20
"""Bytes of all trees together that this process keeps."""


class SnapshotGone(DumontError):
    """This snapshot was deleted."""

    code = "gone"


class NotProven(Conflict):
    """Only what was proven can be looked into."""

    code = "not_proven"


class NotAFile(Conflict):
    """Only files have bytes to be read."""

    code = "not_a_file"


class _Shelf:
    """The trees looked into last, by the id of their manifest."""

    def __init__(self) -> None:
        self._trees: OrderedDict[str, Tree] = OrderedDict()
        self._lock = threading.Lock()
        self._building = threading.Lock()

    def take(self, snapshot: Snapshot) -> Tree:
        tree = self._find(snapshot)
        if tree is None:
            with self._building:
                tree = self._find(snapshot)
                if tree is None:
                    tree = _build(snapshot)
                    self._keep(snapshot, tree)
        return tree

    def clear(self) -> None:
        with self._lock:
            self._trees.clear()

    def _find(self, snapshot: Snapshot) -> Tree | None:
        with self._lock:
            if snapshot.manifest_id in self._trees:
                self._trees.move_to_end(snapshot.manifest_id)
            return self._trees.get(snapshot.manifest_id)

    def _keep(self, snapshot: Snapshot, tree: Tree) -> None:
        with self._lock:
            self._trees[snapshot.manifest_id] = tree
            while sum(kept.weight for kept in self._trees.values()) > MAX_KEPT:
                self._trees.popitem(last=False)


shelf = _Shelf()


def find_snapshot(instance_id: str, name: str) -> Snapshot:
    """A proven snapshot of this instance; ``NotFound``, ``SnapshotGone`` or ``NotProven``."""
    if not Instance.objects.filter(pk=instance_id).exists():
        raise no_instance(instance_id)
    snapshot = Snapshot.objects.select_related("key").filter(instance=instance_id, name=name).first()
    if snapshot is None:
        raise NotFound(f"{instance_id} has no snapshot {name!r}.")
    if snapshot.state == SnapshotState.DELETED:
        raise SnapshotGone(f"{name} was deleted.")
    if snapshot.state != SnapshotState.VERIFIED:
        raise NotProven(f"{name} is {snapshot.state}: only what was proven can be looked into.")
    return snapshot


def list_entries(snapshot: Snapshot, path: str, search: str, after: str, limit: int) -> list[Entry]:
    """The entries of one folder, or all below it whose names hold ``search``; ``NotFound``."""
    tree = shelf.take(snapshot)
    found = _entry(tree, snapshot, path)
    if found.kind != "dir":
        raise NotFound(f"{shown(path)} is a {found.kind}, not a folder.")
    return tree.search(path, search, after, limit) if search else tree.entries(path, after, limit)


def find_file(snapshot: Snapshot, path: str) -> Entry:
    """A file, or another name of one. ``NotFound``; ``NotAFile`` says what it is instead: no link is followed."""
    found = _entry(shelf.take(snapshot), snapshot, path)
    if found.kind == "symlink":
        raise NotAFile(f"{shown(path)} is a symlink to {shown(found.target)}, which is not followed.")
    if found.kind != "file":
        raise NotAFile(f"{shown(path) or 'The workspace'} is a folder.")
    return found


def read_file(snapshot: Snapshot, entry: Entry, start: int, end: int) -> Iterator[memoryview]:
    """The file's proven bytes. A damaged pack is recorded and ends the reading with its ``Damaged``."""
    tree, store = shelf.take(snapshot), get_store()
    try:
        yield from Content(store, tree, keys_of(snapshot.key), entry).blocks(start, end)
    except Damaged as error:
        log.error("%s: reading %s: %s", snapshot.name, shown(entry.path), error)
        record_damage(snapshot, [Fault(error.pack, error.message)])
        raise


def shown(text: str) -> str:
    """A file name as people can read it, in one line: what is not UTF-8 or not printable is replaced."""
    readable = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in readable)


def _build(snapshot: Snapshot) -> Tree:
    manifest = read_manifest(get_store(), manifest_ref(snapshot), keys_of(snapshot.key), MAX_TABLE)
    check_manifest_complete(manifest)
    return Tree(manifest)


def _entry(tree: Tree, snapshot: Snapshot, path: str) -> Entry:
    found = tree.entry(path)
    if found is None:
        raise NotFound(f"{snapshot.name} has no {shown(path)!r}.")
    return found
