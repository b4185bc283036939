"""The settings of a real installation, as Django's own deployment checks see them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


def test_an_installation_over_https_has_no_warnings() -> None:
    env = {
        "PATH": os.environ["PATH"],
        "DUMONT_SECRET_KEY": "k1-" + "0123456789abcdefghijklmnopqrstuvwxyz" * 2,
        "DUMONT_ENCRYPTION_KEYS": "0" * 64,
        "DUMONT_BASE_URL": "https://dumont.example",
        "DUMONT_ALLOWED_HOSTS": "dumont.example",
    }
    command = [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"]
    done = subprocess.run(command, cwd=PROJECT, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
