"""Tries on a store everything that Dumont and its machines do with one, and says what to change where it fails.

It writes a few small objects of its own, never touches others, and removes its own also when something failed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

import urllib3

from agents.snapshot.checksum import crc32_of
from hibernation.domain.errors import StoreError
from hibernation.snapshots.advice import advise
from hibernation.snapshots.store import SignedRequest, Store
from hibernation.snapshots.trial import Trial, Wrong, refusal

_MINUTES = timedelta(minutes=5)
_START, _SIZE = 1000, 5000


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried. ``passed`` is ``None`` if it was not, because something before it failed or is off."""

    what: str
    passed: bool | None
    ms: float
    detail: str
    advice: str = ""


def check_up(store: Store) -> Iterator[Finding]:
    """Each check's finding as soon as it is there. Whoever stops listening early has it clean up all the same."""
    with urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(connect=5, read=30)) as http:
        trial = Trial(store, http)
        try:
            for what, permission, check in _CHECKS:
                yield _try(trial, what, permission, check)
        finally:
            left = trial.clean()
        if left:
            yield Finding(
                "clean up", False, 0.0, f"these objects are left: {', '.join(left)}", "Delete them."
            )


def _try(trial: Trial, what: str, permission: str, check: Callable[[Trial], str]) -> Finding:
    off = _off(trial, check)
    if off:
        return Finding(what, None, 0.0, off)
    start = time.perf_counter()
    try:
        detail, passed, advice = check(trial), True, ""
    except StoreError as error:
        detail, passed = error.message, False
        advice = getattr(error, "advice", "") or advise(getattr(error, "reason", ""), detail, permission)
    return Finding(what, passed, (time.perf_counter() - start) * 1000, detail, advice)


def _off(trial: Trial, check: Callable[[Trial], str]) -> str:
    """Why this check would say nothing."""
    if check is _refuse_bytes and not trial.store.promises.crc32:
        return "not promised: DUMONT_S3_CHECKSUM=none"
    if check is _refuse_again and not trial.store.promises.once:
        return "not promised: DUMONT_S3_WRITE_ONCE=0"
    if check is not _reach and not trial.reached:
        return "the store was not reached"
    if check not in (_reach, _write) and not trial.written:
        return "nothing could be written"
    return ""


def _reach(trial: Trial) -> str:
    try:
        next(trial.store.list(f"{trial.folder}/"), None)
    except StoreError as failure:
        trial.reached = getattr(failure, "reason", "") == "AccessDenied"
        raise
    trial.reached = True
    return "it answers"


def _write(trial: Trial) -> str:
    trial.put("main")
    trial.written = True
    return f"{len(trial.data)} bytes"


def _refuse_length(trial: Trial) -> str:
    return trial.must_refuse(
        trial.sign("length", trial.data),
        trial.data + b"!",
        "The store does not check the signed Content-Length: do not give its URLs to machines you do not trust.",
    )


def _refuse_bytes(trial: Trial) -> str:
    return trial.must_refuse(
        trial.sign("bytes", trial.data),
        bytes(len(trial.data)),
        "The store takes the CRC-32 and does not check it: set DUMONT_S3_CHECKSUM=none, so that nobody relies on it.",
    )


def _refuse_key(trial: Trial) -> str:
    signed = trial.sign("key", trial.data)
    trial.keys.append(f"{trial.folder}/other")
    moved = SignedRequest(signed.url.replace(f"{trial.folder}/key", f"{trial.folder}/other"), signed.headers)
    return trial.must_refuse(
        moved, trial.data, "The store does not check signatures: do not use it as it is set up."
    )


def _refuse_again(trial: Trial) -> str:
    trial.put("again")
    return trial.must_refuse(
        trial.sign("again", trial.data[::-1]),
        trial.data[::-1],
        "The store ignores If-None-Match: set DUMONT_S3_WRITE_ONCE=0, so that nobody relies on it.",
    )


def _head(trial: Trial) -> str:
    info = trial.store.head(trial.main)
    if info is None:
        raise Wrong("what was just written is not there")
    if info.size != len(trial.data) or info.crc32 not in (None, crc32_of([trial.data])):
        raise Wrong(f"it is said to have {info.size} bytes, CRC-32 {info.crc32}")
    return "size" if info.crc32 is None else "size and CRC-32"


def _read(trial: Trial) -> str:
    with trial.store.open(trial.main) as file:
        return _same(file.read(), trial.data)


def _read_range(trial: Trial) -> str:
    return _same(trial.store.read(trial.main, _START, _SIZE), trial.data[_START : _START + _SIZE])


def _get_range(trial: Trial) -> str:
    signed = trial.store.sign_get(trial.main, expires_in=_MINUTES)
    status, body = trial.send("GET", signed, Range=f"bytes={_START}-{_START + _SIZE - 1}")
    if status != 206:
        raise refusal("GET", status, body)
    return _same(body, trial.data[_START : _START + _SIZE])


def _list(trial: Trial) -> str:
    if trial.main not in {info.key for info in trial.store.list(f"{trial.folder}/")}:
        raise Wrong("what was written is not listed")
    return "it is listed"


def _delete(trial: Trial) -> str:
    trial.store.delete(trial.main)
    return "twice, without an error"


def _gone(trial: Trial) -> str:
    if trial.store.head(trial.main) is not None:
        raise Wrong("it is still there")
    return "it is gone"


_CHECKS: tuple[tuple[str, str, Callable[[Trial], str]], ...] = (
    ("reach the store and list", "s3:ListBucket", _reach),
    ("write through a signed URL", "s3:PutObject", _write),
    ("refuse another length", "s3:PutObject", _refuse_length),
    ("refuse other bytes", "s3:PutObject", _refuse_bytes),
    ("refuse another key", "s3:PutObject", _refuse_key),
    ("refuse to overwrite", "s3:PutObject", _refuse_again),
    ("head", "s3:GetObject", _head),
    ("read", "s3:GetObject", _read),
    ("read a range", "s3:GetObject", _read_range),
    ("read a range through a signed URL", "s3:GetObject", _get_range),
    ("list what was written", "s3:ListBucket", _list),
    ("delete", "s3:DeleteObject", _delete),
    ("see that it is gone", "s3:GetObject and s3:ListBucket", _gone),
)


def _same(found: bytes, wanted: bytes) -> str:
    if found != wanted:
        raise Wrong(f"{len(found)} bytes came back, and they are not the {len(wanted)} that were stored")
    return f"{len(found)} bytes"
