from __future__ import annotations

import stat
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from dumont.embedded.keys import ensure_keys


def test_keys_are_made_once(tmp_path: Path) -> None:
    first = ensure_keys(tmp_path)
    private = first.ssh_key_file.read_bytes()
    assert ensure_keys(tmp_path) == first
    assert first.ssh_key_file.read_bytes() == private
    assert len(first.secret_key) >= 50


def test_two_states_have_different_keys(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = ensure_keys(tmp_path / "a"), ensure_keys(tmp_path / "b")
    assert first.secret_key != second.secret_key
    assert first.ssh_key_file.read_bytes() != second.ssh_key_file.read_bytes()


def test_secrets_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    keys = ensure_keys(tmp_path)
    for secret in (tmp_path / "secret.json", keys.ssh_key_file):
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600


def test_the_public_key_belongs_to_the_private_one(tmp_path: Path) -> None:
    keys = ensure_keys(tmp_path)
    keys.ssh_key_file.with_suffix(".pub").unlink()
    public = ensure_keys(tmp_path).ssh_key_file.with_suffix(".pub").read_bytes()
    private = serialization.load_ssh_private_key(keys.ssh_key_file.read_bytes(), None).public_key()
    expected = private.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    assert public.startswith(expected)


def test_an_interrupted_write_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "secret.json.part").write_text("hal")
    assert ensure_keys(tmp_path).secret_key
