"""The environment the settings read: where the database, the broker, the store and the keys of one state folder are."""

from __future__ import annotations

import socket
from pathlib import Path

from .keys import ensure_keys
from .postgres import Postgres
from .valkey import Valkey

PROJECT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"


def project_environment(state: Path, postgres: Postgres, valkey: Valkey, port: int) -> dict[str, str]:
    """Every ``DUMONT_*`` name the project needs to run on this state. Makes the keys on first use."""
    keys = ensure_keys(state)
    return {
        "DUMONT_STATE": str(state),
        "DUMONT_SECRET_KEY": keys.secret_key,
        "DUMONT_ENCRYPTION_KEYS": keys.encryption_key,
        **postgres.env(),
        **valkey.env(),
        "DUMONT_BASE_URL": f"http://{HOST}:{port}",
        "DUMONT_ALLOWED_HOSTS": f"{HOST},localhost",
        "DUMONT_STORE_ROOT": str(state / "store"),
        "DUMONT_SSH_KEY_FILE": str(keys.ssh_key_file),
        "DUMONT_PROVIDERS": "local",
        # It keeps its machines/ and its provider/ registry below this.
        "DUMONT_LOCAL_PROVIDER_ROOT": str(state),
        "DUMONT_DEBUG": "0",
    }


def free_port() -> int:
    """A port nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
