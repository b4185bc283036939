"""What stays out of snapshots by default, and the rules of an instance. Pure: the machine applies them.

Only what anybody can refill belongs here, and nothing that a program would miss. ``docs/snapshot-format.md`` gives
the reason for each line.
"""

from __future__ import annotations

from agents.snapshot.rules import Rules
from hibernation.domain.errors import InvalidRequest

DEFAULT_RULES = (
    "__pycache__/",
    ".pytest_cache/",
    ".mypy_cache/",
    ".ruff_cache/",
    "**/.cache/pip/",
    "**/.cache/yarn/",
    "**/.cache/thumbnails/",
    "**/.npm/_cacache/",
    "**/*conda*/pkgs/*.conda",
    "**/*conda*/pkgs/*.tar.bz2",
    "**/miniforge*/pkgs/*.conda",
    "**/miniforge*/pkgs/*.tar.bz2",
    "**/.local/share/Trash/",
    ".Trash-*/",
    "/lost+found/",
)
"""Not ``.cache/uv/``: the files of a virtual environment may be links into it."""

MAX_LINES = 500
MAX_LENGTH = 500
MAX_STARS = 8
"""Of ``*`` in a line: each one multiplies the time that a long name takes."""


def rules_for(*, default_rules: bool, rules: str) -> tuple[str, ...]:
    """The lines that a freeze is given; of those that match, the last one decides."""
    own = tuple(line for line in rules.splitlines() if line.strip())
    return (DEFAULT_RULES if default_rules else ()) + own


def check_rules(text: str) -> None:
    """Raises ``InvalidRequest`` that names the line which is no rule in gitignore syntax."""
    lines = text.splitlines()
    if len(lines) > MAX_LINES:
        raise InvalidRequest(f"{len(lines)} ignore rules are too many, {MAX_LINES} are allowed")
    for number, line in enumerate(lines, start=1):
        if "\0" in line or len(line) > MAX_LENGTH:
            raise InvalidRequest(
                f"line {number} of the ignore rules is longer than {MAX_LENGTH} or has a NUL"
            )
        if line.count("*") > MAX_STARS:
            raise InvalidRequest(f"line {number} of the ignore rules has more than {MAX_STARS} asterisks")
    try:
        Rules(lines)
    except ValueError as error:
        raise InvalidRequest(f"Ignore rules: {error}") from error
