"""What import-linter cannot say: that the inner layers keep off Django's ORM, a subpackage of somebody else's."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
INNER = ("domain", "providers", "snapshots", "box")
MODULES = sorted(path for name in INNER for path in (ROOT / "hibernation" / name).rglob("*.py"))


def imported(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_orm(name: str) -> bool:
    return name == "django.db" or name.startswith("django.db.")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_an_inner_module_does_not_import_the_orm(path: Path) -> None:
    assert not [name for name in imported(path.read_text()) if is_orm(name)]


@pytest.mark.parametrize(
    "source",
    [
        "import django.db",
        "from django import db",
        "from django.db import models",
        "import django.db.models as m",
    ],
)
def test_the_check_sees_every_way_to_import_it(source: str) -> None:
    assert any(is_orm(name) for name in imported(source))
