"""What a freeze or a thaw is asked to do: the JSON the control plane puts into the job's folder, checked."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.snapshot.cipher import Keys
from agents.snapshot.errors import SnapshotError
from agents.snapshot.format import ManifestRef
from agents.snapshot.rules import Rules

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}\Z")


@dataclass(frozen=True, slots=True)
class FreezeSpec:
    """``parent`` is the last committed snapshot of this instance: only its state file is trusted.

    ``ignore`` are lines in gitignore syntax; with ``leave_out_model_cache`` also what a model hub can give again.
    ``limit_bps`` caps all transfers together, bytes a second. ``background`` gives way to everything else on the
    machine. With ``yield_above`` the freeze ends (``activity_resumed``) once a GPU is busier than that, in per cent.
    """

    job: str
    snapshot: str
    parent: str | None
    workspace: str
    state_file: Path
    keys: Keys
    control_url: str
    token_file: Path
    ignore: tuple[str, ...] = ()
    leave_out_model_cache: bool = False
    limit_bps: int | None = None
    background: bool = False
    yield_above: float | None = None


@dataclass(frozen=True, slots=True)
class Expected:
    """What the freeze reported of the snapshot; a manifest that says anything else is refused."""

    files: int
    size: int


@dataclass(frozen=True, slots=True)
class ThawSpec:
    job: str
    snapshot: str
    workspace: str
    state_file: Path
    keys: Keys
    control_url: str
    token_file: Path
    manifest: ManifestRef
    expect: Expected
    limit_bps: int | None = None


def parse_spec(spec: Any) -> FreezeSpec | ThawSpec:
    """Raises ``SnapshotError('bad_spec')`` naming the field."""
    if not isinstance(spec, dict):
        raise SnapshotError("bad_spec", "the spec is not an object")
    if spec.get("kind") == "freeze":
        parent = None if spec.get("parent") is None else _name(spec, "parent")
        return FreezeSpec(
            **_common(spec),
            parent=parent,
            ignore=_rules(spec),
            leave_out_model_cache=_flag(spec, "leave_out_model_cache"),
            background=_flag(spec, "background"),
            yield_above=_per_cent(spec, "yield_above"),
        )
    if spec.get("kind") == "thaw":
        manifest = _manifest(spec.get("manifest"))
        return ThawSpec(**_common(spec), manifest=manifest, expect=_expected(spec.get("expect")))
    raise SnapshotError("bad_spec", "kind is neither freeze nor thaw")


def _common(spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "job": _name(spec, "job"),
        "snapshot": _name(spec, "snapshot"),
        "workspace": os.path.expanduser(_text(spec, "workspace")),
        "state_file": Path(_text(spec, "state_file")).expanduser(),
        "keys": _keys(spec.get("keys")),
        "control_url": _text(spec, "control_url"),
        "token_file": Path(_text(spec, "token_file")).expanduser(),
        "limit_bps": _limit(spec),
    }


def _rules(spec: dict[str, Any]) -> tuple[str, ...]:
    lines = spec.get("ignore", [])
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise SnapshotError("bad_spec", "ignore is not a list of lines")
    try:
        "".join(lines).encode("utf-8", "surrogateescape")
        Rules(lines)
    except ValueError as error:
        raise SnapshotError("bad_spec", f"ignore: {error}") from error
    return tuple(lines)


def _limit(spec: dict[str, Any]) -> int | None:
    limit = spec.get("limit_bps")
    if limit is not None and (type(limit) is not int or limit <= 0):
        raise SnapshotError("bad_spec", "limit_bps is not a rate")
    return limit


def _flag(spec: dict[str, Any], field: str) -> bool:
    value = spec.get(field, False)
    if type(value) is not bool:
        raise SnapshotError("bad_spec", f"{field} is not true or false")
    return value


def _per_cent(spec: dict[str, Any], field: str) -> float | None:
    value = spec.get(field)
    if value is None:
        return None
    if type(value) not in (int, float) or not 0 <= value <= 100:
        raise SnapshotError("bad_spec", f"{field} is not a percentage")
    return float(value)


def _keys(value: Any) -> Keys:
    if not isinstance(value, dict) or "cipher" not in value:
        raise SnapshotError("bad_spec", "keys is not {id, cipher}")
    cipher = value["cipher"]
    return Keys(_key(value.get("id"), "keys.id"), None if cipher is None else _key(cipher, "keys.cipher"))


def _key(value: Any, field: str) -> bytes:
    if not isinstance(value, str) or not re.fullmatch(r"[0-9a-f]{64}", value):
        raise SnapshotError("bad_spec", f"{field} is not 64 hex digits")
    return bytes.fromhex(value)


def _manifest(value: Any) -> ManifestRef:
    if not isinstance(value, dict):
        raise SnapshotError("bad_spec", "manifest is missing")
    size = value.get("size")
    if type(size) is not int or size <= 0:
        raise SnapshotError("bad_spec", "manifest.size is not a size")
    return ManifestRef(_text(value, "key"), size, _text(value, "sha256"), _text(value, "id"))


def _expected(value: Any) -> Expected:
    found = value if isinstance(value, dict) else {}
    files, size = found.get("files"), found.get("bytes")
    if type(files) is not int or type(size) is not int or files < 0 or size < 0:
        raise SnapshotError("bad_spec", "expect is not {files, bytes}")
    return Expected(files, size)


def _name(spec: dict[str, Any], field: str) -> str:
    value = _text(spec, field)
    if not _NAME.match(value):
        raise SnapshotError("bad_spec", f"{field} is not a name")
    return value


def _text(spec: dict[str, Any], field: str) -> str:
    value = spec.get(field)
    if not isinstance(value, str) or not value:
        raise SnapshotError("bad_spec", f"{field} is missing")
    return value
