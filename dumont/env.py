"""Reading settings from the environment, loudly: a bad value stops the program and says which and why."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from hibernation.logs.redaction import hide

secret_files: dict[str, Path] = {}
"""What was read so far by ``NAME_FILE``: settings hand it to ``manage.py check``."""


def text(name: str, default: str | None = None) -> str:
    value = os.environ.get(name, default)
    if value is None:
        raise ImproperlyConfigured(
            f"{name} is not set. Set it in the environment; bin/demo sets all of them."
        )
    return value


def secret(name: str, default: str | None = None) -> str:
    """A text, or the content of the file that ``NAME_FILE`` names, so that it need not stand in the environment.

    The file's last line end is no part of it. No log of this process will show it.
    """
    value = _from_file(name) if f"{name}_FILE" in os.environ else text(name, default)
    hide(value)
    return value


def address(name: str, default: str) -> str:
    """A URL that may hold a password, or the file with it: of that, logs hide the password alone."""
    value = _from_file(name) if f"{name}_FILE" in os.environ else text(name, default)
    hide(urlsplit(value).password or "")
    return value


def _from_file(name: str) -> str:
    variable = f"{name}_FILE"
    if name in os.environ:
        raise ImproperlyConfigured(f"{name} and {variable} are both set; keep one.")
    path = Path(os.environ[variable])
    try:
        value = path.read_text().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ImproperlyConfigured(f"{variable}={path} cannot be read: {error}.") from None
    if not value.strip():
        raise ImproperlyConfigured(f"{variable}={path} is empty.")
    secret_files[variable] = path.absolute()
    return value


def choice(name: str, default: str, among: Sequence[str]) -> str:
    value = os.environ.get(name, default)
    if value not in among:
        raise ImproperlyConfigured(f"{name}={value!r} is none of {', '.join(among)}.")
    return value


def number(name: str, default: float, *, least: float = 0) -> float:
    raw = os.environ.get(name)
    if raw is None:
        return default
    try:
        value = float(raw)
    except ValueError:
        raise ImproperlyConfigured(f"{name}={raw!r} is not a number.") from None
    if value < least:
        raise ImproperlyConfigured(f"{name}={raw} is below {least:g}.")
    return value


def flag(name: str, default: bool) -> bool:
    raw = os.environ.get(name, "1" if default else "0").lower()
    if raw in {"1", "true", "yes", "on"}:
        return True
    if raw in {"0", "false", "no", "off"}:
        return False
    raise ImproperlyConfigured(f"{name}={raw!r} is neither 1 nor 0.")


def words(name: str, default: str) -> list[str]:
    return [word.strip() for word in os.environ.get(name, default).split(",") if word.strip()]


def keys(name: str) -> list[bytes]:
    """One or more keys of 32 bytes, each 64 hex digits, separated by commas."""
    found = [part.strip() for part in secret(name).split(",") if part.strip()]
    if not found or not all(re.fullmatch(r"[0-9a-fA-F]{64}", part) for part in found):
        raise ImproperlyConfigured(
            f"{name} is not 64 hex digits (several: separated by commas). Make one with «openssl rand -hex 32»."
        )
    for part in found:
        hide(part)
    return [bytes.fromhex(part) for part in found]


def clock(name: str) -> tuple[datetime, datetime, float] | None:
    """``REAL/SHOWN/SPEED``: two moments with their zones, and how many times as fast the second one goes on."""
    raw = os.environ.get(name)
    if not raw:
        return None
    try:
        real, shown, speed = raw.split("/")
        found = datetime.fromisoformat(real), datetime.fromisoformat(shown), float(speed)
    except ValueError:
        found = None
    if found is None or None in (found[0].tzinfo, found[1].tzinfo) or not 0 < found[2] <= 100_000:
        raise ImproperlyConfigured(
            f"{name}={raw!r} is not REAL/SHOWN/SPEED, two moments with zones and a number."
        )
    return found


def folder(name: str, default: Path) -> Path:
    return Path(os.environ.get(name, str(default))).absolute()
