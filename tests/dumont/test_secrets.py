"""Every secret may come from a file instead of the environment, and a file that makes no sense is named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.checks import Warning
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from dumont import env
from hibernation.checks import check_base_url, check_secret_files
from hibernation.logs.redaction import redacted

PROJECT = Path(__file__).resolve().parents[2]
SECRETS = {
    "DUMONT_SECRET_KEY": "s3cret-key-" * 6,
    "DUMONT_ENCRYPTION_KEYS": "0f" * 32,
    "DUMONT_DB_PASSWORD": "the database's",
    "DUMONT_BROKER_URL": "redis://:the-brokers@broker:6379/0",
    "DUMONT_VAST_API_KEY": "the-vast-key",
    "DUMONT_RUNPOD_API_KEY": "the-runpod-key",
    "DUMONT_S3_ACCESS_KEY_ID": "the-s3-id",
    "DUMONT_S3_SECRET_ACCESS_KEY": "the-s3-secret",
}
SHOW = """
import json
import dumont.settings as s
print(json.dumps([
    s.SECRET_KEY, s.DUMONT_ENCRYPTION_KEYS[0].hex(), s.DATABASES["default"]["PASSWORD"], s.DUMONT_BROKER_URL,
    s.DUMONT_VAST_API_KEY, s.DUMONT_RUNPOD_API_KEY, s.DUMONT_S3_ACCESS_KEY_ID, s.DUMONT_S3_SECRET_ACCESS_KEY,
]))
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "secret"
    monkeypatch.setenv("DUMONT_X_FILE", str(path))
    return path


def test_every_secret_may_stand_in_a_file(tmp_path: Path) -> None:
    given = {
        "PATH": os.environ["PATH"],
        "DUMONT_STORE": "s3",
        "DUMONT_S3_BUCKET": "b",
        "DUMONT_S3_REGION": "eu",
    }
    for name, value in SECRETS.items():
        (tmp_path / name).write_text(f"{value}\n")
        given[f"{name}_FILE"] = str(tmp_path / name)
    done = subprocess.run(
        [sys.executable, "-c", SHOW], cwd=PROJECT, env=given, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == list(SECRETS.values())


def test_only_the_end_of_the_line_is_no_part_of_it(file: Path) -> None:
    file.write_bytes(b" with spaces \r\n\n")
    assert env.secret("DUMONT_X") == " with spaces "


@pytest.mark.parametrize("content", [b"", b"\n", b"  \n"])
def test_an_empty_file_is_named(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(ImproperlyConfigured, match=r"DUMONT_X_FILE=/.*secret is empty"):
        env.secret("DUMONT_X", "a default")


@pytest.mark.parametrize(
    "read", [lambda: env.secret("DUMONT_X"), lambda: env.address("DUMONT_X", "redis://")]
)
def test_both_and_neither_and_a_missing_file_are_told_apart(
    file: Path, monkeypatch: pytest.MonkeyPatch, read: object
) -> None:
    assert callable(read)
    with pytest.raises(ImproperlyConfigured, match=r"DUMONT_X_FILE=.* cannot be read: .*No such file"):
        read()
    monkeypatch.setenv("DUMONT_X", "")
    with pytest.raises(ImproperlyConfigured, match="DUMONT_X and DUMONT_X_FILE are both set"):
        read()


def test_a_file_that_is_no_text_is_named_and_not_shown(file: Path) -> None:
    file.write_bytes(b"\xff\xfehunter2")
    with pytest.raises(ImproperlyConfigured, match="cannot be read") as told:
        env.secret("DUMONT_X")
    assert "hunter2" not in str(told.value)


def test_keys_that_are_none_are_not_shown(file: Path) -> None:
    file.write_text("0f" * 31 + "zz")
    with pytest.raises(ImproperlyConfigured, match="DUMONT_X is not 64 hex digits") as told:
        env.keys("DUMONT_X")
    assert "0f0f" not in str(told.value)


def test_what_was_read_is_in_no_log(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("open-sesame-1\n")
    env.secret("DUMONT_X")
    monkeypatch.delenv("DUMONT_X_FILE")
    monkeypatch.setenv("DUMONT_X", "rediss://user:open-sesame-2@broker/0")
    env.address("DUMONT_X", "")
    monkeypatch.setenv("DUMONT_X", f"{'1a' * 32},{'2b' * 32}")
    env.keys("DUMONT_X")
    told = f"open-sesame-1 open-sesame-2 {'2b' * 32} broker"
    assert redacted(told) == "••• ••• ••• broker"


def test_a_file_that_everybody_can_read_is_warned_of(settings: Settings, tmp_path: Path) -> None:
    mine, open_ = tmp_path / "mine", tmp_path / "open"
    mine.touch(0o640)
    open_.touch(0o600)
    open_.chmod(0o644)
    settings.DUMONT_SECRET_FILES = {"DUMONT_X_FILE": mine, "DUMONT_Y_FILE": open_}
    settings.DUMONT_SSH_KEY_FILE = tmp_path / "none"
    (told,) = check_secret_files()
    assert isinstance(told, Warning)
    assert (told.id, "DUMONT_Y_FILE" in told.msg, str(open_) in told.msg) == ("hibernation.W002", True, True)
    settings.DUMONT_SSH_KEY_FILE = open_
    assert len(check_secret_files()) == 2


def test_the_files_that_were_read_are_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("k" * 60)
    path.chmod(0o644)
    variables = {name: value for name, value in os.environ.items() if name != "DUMONT_SECRET_KEY"}
    done = subprocess.run(
        [sys.executable, "manage.py", "check", "--tag", "security"],
        cwd=PROJECT,
        env={**variables, "DUMONT_SECRET_KEY_FILE": str(path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0
    assert f"DUMONT_SECRET_KEY_FILE: every user of this machine can read {path}" in done.stderr


@pytest.mark.parametrize(
    ("hosts", "told"),
    [(["dumont.example"], 0), ([".example"], 0), (["*"], 0), (["127.0.0.1"], 1), ([], 1)],
)
def test_a_base_url_whose_host_is_refused_is_warned_of(
    settings: Settings, hosts: list[str], told: int
) -> None:
    settings.DUMONT_BASE_URL, settings.ALLOWED_HOSTS = "https://dumont.example:8443", hosts
    assert [one.id for one in check_base_url()] == ["hibernation.W003"] * told
