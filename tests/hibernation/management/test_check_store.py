"""``manage.py check_store`` as a person and a script read it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from hibernation.management.commands import check_store
from hibernation.snapshots.s3 import S3Failure, S3Store
from tests.fakes.s3 import Bucket, config_of, serve_s3
from tests.fakes.s3_auth import Account

pytestmark = pytest.mark.network


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    with serve_s3() as bucket, closing(S3Store(config_of(bucket))) as store:
        monkeypatch.setattr(check_store, "get_store", lambda: store)
        yield bucket


def run(*arguments: str) -> tuple[int, str]:
    out = StringIO()
    try:
        call_command("check_store", *arguments, stdout=out)
    except SystemExit as end:
        return int(str(end.code)), out.getvalue()
    return 0, out.getvalue()


def test_a_good_store_is_a_list_of_ticks(bucket: Bucket) -> None:
    code, text = run()
    assert code == 0
    place, *lines = text.splitlines()
    assert "store" in place
    assert len(lines) == 13
    assert all(line.startswith("✓") and " ms" in line for line in lines)


def test_a_failure_is_a_cross_with_advice_and_exit_code_1(bucket: Bucket) -> None:
    bucket.denied = {"s3:PutObject"}
    code, text = run()
    assert code == 1
    assert "✗ write through a signed URL" in text
    assert "→ Allow s3:PutObject" in text
    assert "– read" in text
    assert bucket.account.secret_access_key not in text


def test_a_script_reads_json(bucket: Bucket) -> None:
    code, text = run("--json")
    document: dict[str, Any] = json.loads(text)
    assert (code, document["ok"]) == (0, True)
    assert {check["passed"] for check in document["checks"]} == {True}
    bucket.denied = {"s3:ListBucket"}
    code, text = run("--json")
    assert (code, json.loads(text)["ok"]) == (1, False)


def run_as_a_user(bucket: Bucket, folder: Path, **given: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, with nothing but the documented variables; the secret in a file."""
    (folder / "secret").write_text(f"{bucket.account.secret_access_key}\n")
    (folder / "secret").chmod(0o600)
    right = {
        "DUMONT_SECRET_KEY": "x" * 50,
        "DUMONT_ENCRYPTION_KEYS": "0" * 64,
        "DUMONT_STORE": "s3",
        "DUMONT_S3_BUCKET": bucket.name,
        "DUMONT_S3_ENDPOINT": bucket.url,
        "DUMONT_S3_ACCESS_KEY_ID": bucket.account.access_key_id,
        "DUMONT_S3_SECRET_ACCESS_KEY_FILE": str(folder / "secret"),
    }
    others = {name: value for name, value in os.environ.items() if not name.startswith(("DUMONT_", "AWS_"))}
    return subprocess.run(
        [sys.executable, "manage.py", "check_store", "--json"],
        cwd=settings.BASE_DIR,
        env={**others, **right, **given},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_every_setting_reaches_the_bucket(tmp_path: Path) -> None:
    with serve_s3(account=Account("AKIDOTHER", "another-secret-of-nobody", "eu-7")) as bucket:
        ran = run_as_a_user(
            bucket,
            tmp_path,
            DUMONT_S3_REGION="eu-7",
            DUMONT_S3_PREFIX="dumont/eu",
            DUMONT_S3_PATH_STYLE="1",
        )
        assert (ran.returncode, ran.stderr) == (0, "")
        assert {check["passed"] for check in json.loads(ran.stdout)["checks"]} == {True}
        touched = {key for _, key in bucket.asked if key}
        assert touched
        assert all(key.startswith("dumont/eu/check_store/") for key in touched)
        assert bucket.objects == {}


def test_a_provider_that_promises_nothing_is_set_up_by_two_variables(tmp_path: Path) -> None:
    with serve_s3(plain=True) as bucket:
        right = {"DUMONT_S3_CHECKSUM": "none", "DUMONT_S3_WRITE_ONCE": "0"}
        ran = run_as_a_user(bucket, tmp_path, **right)
        assert (ran.returncode, ran.stderr) == (0, "")
        passed = [check["passed"] for check in json.loads(ran.stdout)["checks"]]
        assert (passed.count(True), passed.count(None)) == (11, 2)
        wrong = run_as_a_user(bucket, tmp_path)
        assert wrong.returncode == 1
        assert "DUMONT_S3_CHECKSUM=none" in wrong.stdout
        assert bucket.account.secret_access_key not in wrong.stdout + wrong.stderr
        assert bucket.objects == {}


def test_settings_without_sense_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> S3Store:
        raise S3Failure("ValueError", "the S3 settings make no sense: bad endpoint")

    monkeypatch.setattr(check_store, "get_store", broken)
    with pytest.raises(CommandError, match="bad endpoint"):
        run()
