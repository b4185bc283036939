"""Checks of an installation that need its database: ``manage.py check --database default``, and every migration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.db import connections

from hibernation.models import WorkspaceKey
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
    return WorkspaceKey._meta.db_table in connections["default"].introspection.table_names()


def _error(name: str, count: int) -> Error:
    return Error(
        f"{count} data keys of workspaces are wrapped by the key {name}, which DUMONT_ENCRYPTION_KEYS does not have: "
        "their snapshots cannot be read.",
        hint="Add that key after the first one; «manage.py rotate_keys» then makes it superfluous.",
        id="hibernation.E001",
    )
