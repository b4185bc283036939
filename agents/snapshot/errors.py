"""The one failure of the snapshot engine: a stable ``code`` for the control plane and a sentence for people."""

from __future__ import annotations

import errno


class SnapshotError(Exception):
    """An expected failure of a freeze or a thaw. ``code`` is part of the job's progress and never changes meaning."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class ManifestInvalid(SnapshotError):
    """The table of contents breaks a rule of the format; the message names the entry and the rule."""

    def __init__(self, message: str) -> None:
        super().__init__("snapshot_unproven", message)


_FULL = {errno.ENOSPC, errno.EDQUOT}


def from_os_error(error: OSError) -> SnapshotError:
    """Name what the operating system refused: a full disk is its own code, because more disk cures it."""
    code = "disk_full" if error.errno in _FULL else "io_error"
    return SnapshotError(
        code, f"{error.strerror or error}: {error.filename!r}" if error.filename else str(error)
    )
