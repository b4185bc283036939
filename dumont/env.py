"""Reading settings from the environment, loudly: a bad value stops the program and says which and why."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured


def text(name: str, default: str | None = None) -> str:
    value = os.environ.get(name, default)
    if value is None:
        raise ImproperlyConfigured(
            f"{name} is not set. Set it in the environment; bin/demo sets all of them."
        )
    return value


def secret(name: str, default: str | None = None) -> str:
    """A text, or the content of the file that ``NAME_FILE`` names, so that it need not stand in the environment."""
    file = os.environ.get(f"{name}_FILE")
    if file is None:
        return text(name, default)
    if name in os.environ:
        raise ImproperlyConfigured(f"{name} and {name}_FILE are both set; keep one.")
    try:
        return Path(file).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ImproperlyConfigured(f"{name}_FILE={file} cannot be read: {error}.") from None


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
    found = [part.strip() for part in text(name).split(",") if part.strip()]
    if not found or not all(re.fullmatch(r"[0-9a-fA-F]{64}", part) for part in found):
        raise ImproperlyConfigured(
            f"{name} is not 64 hex digits (several: separated by commas). Make one with «openssl rand -hex 32»."
        )
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
