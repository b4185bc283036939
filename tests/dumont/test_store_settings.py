"""The store's settings come from the environment, secrets also from files, and a bad value says which it is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from dumont import env

PROJECT = Path(__file__).resolve().parents[2]


def test_a_secret_comes_from_the_environment_or_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert env.secret("DUMONT_X", "none") == "none"
    (tmp_path / "secret").write_text("from a file\n")
    monkeypatch.setenv("DUMONT_X_FILE", str(tmp_path / "secret"))
    assert env.secret("DUMONT_X") == "from a file"
    monkeypatch.setenv("DUMONT_X", "both")
    with pytest.raises(ImproperlyConfigured, match="DUMONT_X and DUMONT_X_FILE"):
        env.secret("DUMONT_X")
    monkeypatch.delenv("DUMONT_X_FILE")
    assert env.secret("DUMONT_X") == "both"


def test_a_missing_secret_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ImproperlyConfigured, match="DUMONT_X is not set"):
        env.secret("DUMONT_X")
    monkeypatch.setenv("DUMONT_X_FILE", str(tmp_path / "none"))
    with pytest.raises(ImproperlyConfigured, match=r"DUMONT_X_FILE=.* cannot be read"):
        env.secret("DUMONT_X")


def test_a_value_outside_the_choice_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert env.choice("DUMONT_X", "a", ("a", "b")) == "a"
    monkeypatch.setenv("DUMONT_X", "c")
    with pytest.raises(ImproperlyConfigured, match="DUMONT_X='c' is none of a, b"):
        env.choice("DUMONT_X", "a", ("a", "b"))


def load(**given: str) -> subprocess.CompletedProcess[str]:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("DUMONT_S")}
    return subprocess.run(
        [sys.executable, "-c", "import dumont.settings as s; print(s.DUMONT_S3_REGION, s.DUMONT_S3_PATH_STYLE)"],
        cwd=PROJECT,
        env={**variables, "DUMONT_SECRET_KEY": "x" * 50, "DUMONT_STORE": "s3", **given},
        capture_output=True,
        text=True,
        timeout=60,
    )  # fmt: skip


def test_an_s3_store_needs_its_bucket_key_and_region() -> None:
    given = {"DUMONT_S3_ACCESS_KEY_ID": "id", "DUMONT_S3_SECRET_ACCESS_KEY": "secret"}
    assert "DUMONT_S3_BUCKET is not set" in load(**given).stderr
    given["DUMONT_S3_BUCKET"] = "b"
    assert "DUMONT_S3_REGION is not set" in load(**given).stderr
    assert load(**given, DUMONT_S3_REGION="eu").stdout == "eu False\n"
    assert load(**given, DUMONT_S3_ENDPOINT="https://r2.example").stdout == "auto True\n"
