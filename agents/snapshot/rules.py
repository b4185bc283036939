"""Which entries of a workspace stay out of its snapshot: gitignore rules, and the agent's own files.

The last rule that matches an entry decides. Below a directory that is left out nothing is looked at, so nothing there
can be taken in again, as in git. Patterns are translated by ``pathspec``; what is done here is to ask it seldom.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

_SPECIAL = frozenset("*?[\\")
_ANY_DEPTH = "^(?:.+/)?"
_BELOW = "ps_d"
"""The group of pathspec's expressions that matches the slash after a directory."""


@dataclass(frozen=True)
class RuleBook:
    """``lines`` in gitignore syntax; ``own`` are whole paths of the agent's files, which are never mentioned."""

    lines: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    leave_out_models: bool = False

    @cached_property
    def rules(self) -> Rules:
        return Rules(self.lines)


class _Rule(NamedTuple):
    """``test`` is ``None`` where an equal name is enough."""

    number: int
    line: str
    leaves_out: bool
    only_dirs: bool
    test: re.Pattern[str] | None

    def matches(self, path: str, is_dir: bool) -> bool:
        """Whether the entry itself matches: pathspec's expressions also match what lies below."""
        if self.only_dirs and not is_dir:
            return False
        if self.test is None:
            return True
        found = self.test.match(path)
        return found is not None and not found.groupdict().get(_BELOW)


class Rules:
    """Rules ready to be asked a million times. ``ValueError`` names the line that is none.

    A rule whose pattern ends in a plain name is found by that name. For the others a suffix, or one expression over
    the name, or over the path where the pattern ends in ``**``, tells whether it is worth to ask them one by one.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._named: dict[str, list[_Rule]] = {}
        self._wild: list[_Rule] = []
        names, paths, suffixes = [], [], []
        for number, line in enumerate(lines):
            rule, name = _parse(number, line)
            if rule is None:
                continue
            if name is not None and not _SPECIAL & set(name):
                self._named.setdefault(name, []).insert(0, rule)
                continue
            self._wild.insert(0, rule)
            expression = _name_expression(name) if name is not None else None
            if name and name.startswith("*") and not _SPECIAL & set(name[1:]) and name != "*":
                suffixes.append(name[1:])
            elif expression is not None:
                names.append(expression)
            elif rule.test is not None:
                paths.append(_without_groups(rule.test))
        self._suffixes = tuple(suffixes)
        self._name_hints = _any_of(names)
        self._path_hints = _any_of(paths)
        self.is_empty = not (self._named or self._wild)

    def left_out_by(self, name: str, path: str, is_dir: bool) -> str | None:
        """The line that keeps this entry out, if the last one that matches does."""
        rules = self._named.get(name)
        if (
            name.endswith(self._suffixes)
            or (self._name_hints and self._name_hints(name))
            or (self._path_hints and self._path_hints(path))
        ):
            rules = sorted([*(rules or ()), *self._wild], key=lambda rule: -rule.number)
        for rule in rules or ():
            if rule.matches(path, is_dir):
                return rule.line if rule.leaves_out else None
        return None


def _parse(number: int, line: str) -> tuple[_Rule | None, str | None]:
    """The rule and the last name of its pattern; that is ``None`` where it cannot be told apart.

    The final slash is taken off before the translation, where ``*/`` would no longer mean every directory.
    """
    text = line.strip("\r\n")
    if not text.strip() or text.startswith("#"):
        return None, None
    is_plain = "\\" not in text and "[" not in text
    text = text.rstrip(" \t") if "\\" not in text else text
    leaves_out, only_dirs = not text.startswith("!"), text.endswith("/")
    pattern = text.removeprefix("!").rstrip("/")
    if is_plain and "/" not in pattern and not _SPECIAL & set(pattern) and pattern:
        return _Rule(number, line, leaves_out, only_dirs, None), pattern
    test = _translated(number, line, text.rstrip("/"))
    if test is None:
        return None, None
    name = pattern.rpartition("/")[2] if is_plain else None
    return _Rule(number, line, leaves_out, only_dirs, test), name


def _translated(number: int, line: str, text: str) -> re.Pattern[str] | None:
    """As pathspec understands it, which has no named classes; ``None`` for what matches nothing."""
    if "[:" in text:
        raise ValueError(f"line {number + 1}, {line!r}: named classes such as [:digit:] are not known here")
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

    try:
        expression = GitIgnoreSpecPattern(text).regex
    except (ValueError, re.error) as error:
        raise ValueError(f"line {number + 1}, {line!r}, is no rule: {error}") from error
    return None if expression is None else re.compile(expression.pattern, re.DOTALL)


def _name_expression(name: str) -> str | None:
    """Matches at least the names that the last part of a pattern matches; ``None`` where that is any name."""
    test = _translated(0, name, name)
    if test is None or not test.pattern.startswith(_ANY_DEPTH):
        return None
    return _without_groups(test).removeprefix(_ANY_DEPTH)


def _without_groups(test: re.Pattern[str]) -> str:
    return test.pattern.replace(f"?P<{_BELOW}>", "?:")


def _any_of(expressions: list[str]) -> Callable[[str], re.Match[str] | None] | None:
    if not expressions:
        return None
    return re.compile("|".join(f"(?:{expression})" for expression in expressions), re.DOTALL).match
