"""Checks of an installation: who can read its secrets, who is answered, and, with ``--database default``, its keys.

Every migration makes the last ones, too.
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import connections
from django.http.request import validate_host

from hibernation.models import ProviderCredential, WorkspaceKey
from hibernation.providers.accounts import KEY_SETTINGS
from hibernation.services.credentials import is_from_environment, providers_with_keys
from hibernation.services.keys import fingerprint, wrapping_keys_in_use


@register(Tags.database)
def check_wrapping_keys(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Every wrapping key that a data key still needs is there."""
    if "default" not in (databases or ()) or not _is_migrated():
        return []
    known = {fingerprint(key) for key in settings.DUMONT_ENCRYPTION_KEYS}
    missing = {name: count for name, count in wrapping_keys_in_use().items() if name not in known}
    return [_error(name, count) for name, count in missing.items()]


def _is_migrated() -> bool:
    """The first migration runs the checks before there is a table."""
    tables = set(connections["default"].introspection.table_names())
    return {WorkspaceKey._meta.db_table, ProviderCredential._meta.db_table} <= tables


def _error(name: str, count: int) -> Error:
    return Error(
        f"{count} data keys of workspaces are wrapped by the key {name}, which DUMONT_ENCRYPTION_KEYS does not have: "
        "their snapshots cannot be read.",
        hint="Add that key after the first one; «manage.py rotate_keys» then makes it superfluous.",
        id="hibernation.E001",
    )


@register(Tags.database)
def check_provider_keys(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Every provider that wants a key has one, from the environment or entered in the console."""
    if "default" not in (databases or ()) or not _is_migrated():
        return []
    entered = set(ProviderCredential.objects.values_list("pk", flat=True))
    wanting = [name for name in providers_with_keys() if not is_from_environment(name)]
    return [_warning(name) for name in wanting if name not in entered]


def _warning(provider: str) -> Warning:
    return Warning(
        f"DUMONT_PROVIDERS names {provider!r} and there is no key to its account: nothing is rented there.",
        hint=f"Set {KEY_SETTINGS[provider]}, or enter the key in the console under provider credentials.",
        id="hibernation.W001",
    )


@register(Tags.security)
def check_secret_files(**_: Any) -> list[CheckMessage]:
    """Files with secrets, and the key that machines are reached with, are for their owner and group alone."""
    files = {**settings.DUMONT_SECRET_FILES, "DUMONT_SSH_KEY_FILE": settings.DUMONT_SSH_KEY_FILE}
    return [_open_to_all(name, path) for name, path in files.items() if _is_open_to_all(path)]


def _is_open_to_all(path: Path) -> bool:
    try:
        return bool(stat.S_IMODE(path.stat().st_mode) & stat.S_IRWXO)
    except OSError:
        return False


def _open_to_all(name: str, path: Path) -> Warning:
    return Warning(
        f"{name}: every user of this machine can read {path}.",
        hint=f"chmod o= {path}; a container's mount of secrets may be told the mode.",
        id="hibernation.W002",
    )


@register(Tags.security, deploy=True)
def check_base_url(**_: Any) -> list[CheckMessage]:
    """Machines reach us by the base URL, so that its host must be among those that are answered."""
    host = urlsplit(settings.DUMONT_BASE_URL).hostname or ""
    if validate_host(host, settings.ALLOWED_HOSTS):
        return []
    return [
        Warning(
            f"DUMONT_ALLOWED_HOSTS lacks {host!r}, the host of DUMONT_BASE_URL: every machine is refused.",
            hint="Add it.",
            id="hibernation.W003",
        )
    ]
