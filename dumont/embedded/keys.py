"""The secrets a state folder gets when it is first used: Django's secret key, the key that
wraps the workspaces' keys, and the SSH key pair for the machines."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from .folders import private_folder


@dataclass(frozen=True, slots=True)
class Keys:
    secret_key: str = field(repr=False)
    encryption_key: str = field(repr=False)
    ssh_key_file: Path


def ensure_keys(state: Path) -> Keys:
    """Reads them, or makes them once. A file is complete or absent; all but the public key are 0600."""
    secret_file = state / "secret.json"
    if not secret_file.exists():
        made = {
            "DUMONT_SECRET_KEY": secrets.token_urlsafe(48),
            "DUMONT_ENCRYPTION_KEYS": secrets.token_hex(32),
        }
        _write(secret_file, json.dumps(made).encode())
    found = json.loads(secret_file.read_text())
    return Keys(
        found["DUMONT_SECRET_KEY"],
        found["DUMONT_ENCRYPTION_KEYS"],
        _ensure_ssh_key(private_folder(state / "ssh")),
    )


def _ensure_ssh_key(folder: Path) -> Path:
    private_file, public_file = folder / "id_ed25519", folder / "id_ed25519.pub"
    if not private_file.exists():
        _write(private_file, _new_ssh_key())
        public_file.unlink(missing_ok=True)
    if not public_file.exists():
        _write(public_file, _public_half(private_file.read_bytes()), mode=0o644)
    return private_file


def _new_ssh_key() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )


def _public_half(private: bytes) -> bytes:
    key = serialization.load_ssh_private_key(private, password=None)
    line = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return line + b" dumont\n"


def _write(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Never readable by others, not even while it is written, and never half there."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
    part.rename(path)
