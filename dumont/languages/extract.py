"""The sentences in Python code, as templates: f-strings whose values are places, conditions written out as variants.

Whatever looks like prose is one, unless it stands where only developers look: a sentence is not marked, so none is
forgotten.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_WORD = re.compile(r"[a-z]{2}")
_NOT_PROSE = re.compile(
    r"""\n|^[^ ]+$                       # a query or a script; one word
    |^[ ]?[<"(~-]|;[ ]import[ ]|^attachment;|%\(
    |^(INSERT|SELECT|umask|mkdir|touch|grep|curl|import|test|cd|job|fence|resume-writers|Bearer|text/\S+|bytes)[ ;]""",
    re.VERBOSE,
)
_UNSEEN_CALLS = frozenset(
    {"AssertionError", "TypeError", "KeyError", "NotImplementedError", "RuntimeError"}
) | {*("compile", "strftime", "execute", "debug", "info", "warning", "error", "exception", "critical")}
PLACE = "\0"


@dataclass(frozen=True, slots=True)
class Found:
    """``text``: a template with its places numbered."""

    text: str
    where: str


def sentences_in(path: Path, root: Path) -> Iterator[Found]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    unseen = set(_unseen(tree))
    for node in _texts(tree, unseen):
        for variant in _variants(node):
            text = numbered("".join(variant))
            if is_prose(text):
                yield Found(text, f"{path.relative_to(root)}:{getattr(node, 'lineno', 0)}")


def is_prose(text: str) -> bool:
    words = re.sub(r"\{[0-9]\}", "", text)
    return bool(_WORD.search(words)) and not _NOT_PROSE.search(text)


def numbered(text: str) -> str:
    """Places that touch are one: nobody could tell where the first ends."""
    counter = itertools.count()
    return re.sub(f"{PLACE}+", lambda _: f"{{{next(counter)}}}", text)


def _texts(node: ast.AST, unseen: set[int]) -> Iterator[ast.expr]:
    """The outermost texts, from the top; what is part of one is not told again."""
    if id(node) in unseen:
        return
    if isinstance(node, ast.expr) and _is_text(node):
        yield node
        inside: Sequence[ast.AST] = list(_places(node))
    else:
        inside = list(ast.iter_child_nodes(node))
    for child in inside:
        yield from _texts(child, unseen)


def _is_text(node: ast.expr) -> bool:
    match node:
        case ast.Constant(value=str()) | ast.JoinedStr():
            return True
        case ast.BinOp(op=ast.Add()):
            return _is_text(node.left) or _is_text(node.right)
        case ast.IfExp():
            return _is_text(node.body) and _is_text(node.orelse)
    return False


def _variants(node: ast.expr) -> list[list[str]]:
    """Every way to write it out."""
    match node:
        case ast.Constant(value=str(text)):
            return [[text]]
        case ast.JoinedStr():
            return _product([_variants(part) for part in node.values])
        case ast.FormattedValue():
            return _variants(node.value)
        case ast.BinOp(op=ast.Add()) if _is_text(node):
            return _product([_variants(node.left), _variants(node.right)])
        case ast.IfExp() if _is_text(node):
            return _variants(node.body) + _variants(node.orelse)
    return [[PLACE]]


def _product(parts: list[list[list[str]]]) -> list[list[str]]:
    return [list(itertools.chain(*chosen)) for chosen in itertools.product(*parts)]


def _places(node: ast.expr) -> Iterator[ast.AST]:
    """What stands in the places of a text, and what decides between its variants."""
    match node:
        case ast.JoinedStr():
            for part in node.values:
                if isinstance(part, ast.FormattedValue):
                    yield from _places(part.value) if _is_text(part.value) else (part.value,)
        case ast.BinOp():
            for side in (node.left, node.right):
                yield from _places(side) if _is_text(side) else (side,)
        case ast.IfExp():
            yield node.test
            yield from _places(node.body)
            yield from _places(node.orelse)


def _unseen(tree: ast.AST) -> Iterator[int]:
    """Docstrings, type annotations, and what is said to developers, to a log or to the database."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield id(node.value)
        elif isinstance(node, ast.Call) and _name_of(node.func) in _UNSEEN_CALLS:
            yield from map(id, node.args)
        elif isinstance(node, ast.Subscript):
            yield id(node.slice)


def _name_of(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
