"""The checkup finds what is wrong with a store, says what to change, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from hibernation.snapshots.advice import advise
from hibernation.snapshots.checkup import Finding, check_up
from hibernation.snapshots.filesystem import FilesystemStore
from hibernation.snapshots.s3 import S3Store
from tests.fakes.s3 import Bucket, config_of, serve_s3

pytestmark = pytest.mark.network


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    with serve_s3() as bucket:
        yield bucket


def found(bucket: Bucket, /, **options: Any) -> dict[str, Finding]:
    with closing(S3Store(config_of(bucket, **options))) as store:
        return {finding.what: finding for finding in check_up(store)}


def failed(findings: dict[str, Finding]) -> list[str]:
    return [finding.what for finding in findings.values() if finding.passed is False]


def test_a_good_store_passes_everything_and_is_left_empty(bucket: Bucket) -> None:
    bucket.put("somebody/else", b"x")
    findings = found(bucket, prefix="dumont")
    assert all(finding.passed for finding in findings.values())
    assert findings["head"].detail == "size and CRC-32"
    assert list(bucket.objects) == ["somebody/else"]


def test_b2_passes_once_it_is_told_what_it_lacks() -> None:
    with serve_s3(plain=True) as bucket:
        findings = found(bucket, crc32=False, write_once=False)
        assert failed(findings) == []
        off = [finding.what for finding in findings.values() if finding.passed is None]
        assert off == ["refuse other bytes", "refuse to overwrite"]
        assert "DUMONT_S3_CHECKSUM=none" in found(bucket)["write through a signed URL"].advice
        assert "WRITE_ONCE=0" in found(bucket, crc32=False)["write through a signed URL"].advice


def test_a_store_that_checks_nothing_is_told_apart() -> None:
    with serve_s3(deaf=True) as bucket:
        findings = found(bucket)
        assert failed(findings) == ["refuse other bytes", "refuse to overwrite"]
        assert "DUMONT_S3_CHECKSUM=none" in findings["refuse other bytes"].advice
        assert "DUMONT_S3_WRITE_ONCE=0" in findings["refuse to overwrite"].advice
        assert bucket.objects == {}


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({"access_key_id": "nobody"}, "DUMONT_S3_ACCESS_KEY_ID"),
        ({"secret_access_key": "wrong"}, "DUMONT_S3_SECRET_ACCESS_KEY"),
        ({"region": "mars"}, "DUMONT_S3_REGION"),
        ({"bucket": "nobody"}, "DUMONT_S3_BUCKET"),
        ({"endpoint": "http://127.0.0.1:1"}, "DUMONT_S3_ENDPOINT"),
    ],
)
def test_a_wrong_setting_is_named_and_nothing_else_is_tried(
    bucket: Bucket, options: dict[str, str], advice: str
) -> None:
    first, *others = found(bucket, **options).values()
    assert first.passed is False
    assert advice in first.advice
    assert {(finding.passed, finding.detail) for finding in others} == {(None, "the store was not reached")}


def test_a_wrong_clock_is_named(bucket: Bucket) -> None:
    bucket.skew = timedelta(hours=1)
    assert "clock" in found(bucket)["reach the store and list"].advice


@pytest.mark.parametrize(
    ("permission", "fails"),
    [
        ("s3:ListBucket", ["reach the store and list", "list what was written", "see that it is gone"]),
        ("s3:PutObject", ["write through a signed URL"]),
        ("s3:GetObject", ["head", "read", "read a range", "read a range through a signed URL", "see that it is gone"]),
        ("s3:DeleteObject", ["delete", "see that it is gone", "clean up"]),
    ],
)  # fmt: skip
def test_a_missing_permission_is_named(bucket: Bucket, permission: str, fails: list[str]) -> None:
    bucket.denied = {permission}
    findings = found(bucket)
    assert failed(findings) == fails
    assert permission in findings[fails[0]].advice


def test_what_cannot_be_removed_is_named(bucket: Bucket) -> None:
    bucket.denied = {"s3:DeleteObject"}
    detail = found(bucket)["clean up"].detail
    assert all(key in detail for key in bucket.objects)
    assert bucket.objects


def test_wrong_bytes_are_found(bucket: Bucket) -> None:
    with closing(S3Store(config_of(bucket))) as store:
        findings = []
        for finding in check_up(store):
            findings.append(finding)
            if finding.what == "head":
                bucket.faults.append("wrong bytes")
    assert [f.what for f in findings if f.passed is False] == ["read"]


def test_whoever_stops_listening_leaves_nothing(bucket: Bucket) -> None:
    with closing(S3Store(config_of(bucket))) as store:
        findings = check_up(store)
        assert next(findings).passed
        assert next(findings).passed
        assert bucket.objects
        findings.close()  # type: ignore[attr-defined]
    assert bucket.objects == {}


def test_a_filesystem_store_without_its_web_process_is_told(tmp_path: Path) -> None:
    findings = list(check_up(FilesystemStore(tmp_path, "http://127.0.0.1:1", b"s" * 32)))
    assert [finding.passed for finding in findings[:3]] == [True, False, None]
    assert "DUMONT_BASE_URL" in findings[1].advice


@pytest.mark.parametrize(
    ("reason", "message", "advice"),
    [
        ("SSLError", "", "scheme"),
        ("PermanentRedirect", "", "DUMONT_S3_REGION"),
        ("NewConnectionError", "", "DUMONT_S3_PATH_STYLE"),
        ("AccessDenied", "Request has expired", "clock"),
        ("AccessDenied", "", "Allow s3:X"),
        ("400", "Bad Request", "DUMONT_S3_CHECKSUM"),
        ("SlowDown", "", "Try again"),
        ("store_refused", "", "DUMONT_SECRET_KEY"),
        ("NeverHeardOf", "", ""),
    ],
)
def test_the_advice_fits_the_answer(reason: str, message: str, advice: str) -> None:
    said = advise(reason, message, "s3:X")
    assert advice in said
    assert bool(said) == bool(advice)
