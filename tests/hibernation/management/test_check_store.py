"""``manage.py check_store`` as a person and a script read it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from hibernation.management.commands import check_store
from hibernation.snapshots.s3 import S3Failure, S3Store
from tests.fakes.s3 import Bucket, config_of, serve_s3

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


def test_settings_without_sense_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> S3Store:
        raise S3Failure("ValueError", "the S3 settings make no sense: bad endpoint")

    monkeypatch.setattr(check_store, "get_store", broken)
    with pytest.raises(CommandError, match="bad endpoint"):
        run()
