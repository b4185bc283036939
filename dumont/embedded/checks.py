"""``bin/check``: every check that is not a test. Runs them all before it says no, so that one run shows everything."""

from __future__ import annotations

import sys

from .processes import signals_as_exits
from .testing import call, services

CHECKS: dict[str, tuple[str, ...]] = {
    "ruff check": ("-m", "ruff", "check", "."),
    "ruff format": ("-m", "ruff", "format", "--check", "."),
    "mypy": ("-m", "mypy"),
    # import-linter has no module to run.
    "lint-imports": ("-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"),
    "migrations": ("manage.py", "makemigrations", "--check", "--dry-run"),
    "manage.py check": ("manage.py", "check"),
    "manage.py check --deploy": ("manage.py", "check", "--deploy", "--fail-level", "WARNING"),
}
# As on a server that people reach; with a bad value of any of these the check would say so.
DEPLOYED = {"DUMONT_BASE_URL": "https://dumont.example.org", "DUMONT_ALLOWED_HOSTS": "dumont.example.org"}


def main(checks: dict[str, tuple[str, ...]] = CHECKS) -> int:
    """Returns 0 when all pass, else 1 after naming those that do not."""
    with signals_as_exits(), services() as env:
        failed = [name for name, arguments in checks.items() if _failed(name, arguments, env)]
    if failed:
        print(f"Failed: {', '.join(failed)}.", file=sys.stderr)
    return 1 if failed else 0


def _failed(name: str, arguments: tuple[str, ...], env: dict[str, str]) -> bool:
    print(f"== {name}", flush=True)
    return call(arguments, env | (DEPLOYED if "--deploy" in arguments else {})) != 0


if __name__ == "__main__":
    sys.exit(main())
