"""For whom a line is logged: the request, task, operation and instance in hand, known to every line of this thread."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

Fact = str | int
_facts: ContextVar[Mapping[str, Fact]] = ContextVar("facts of log lines")


@contextmanager
def about(**facts: Fact) -> Iterator[None]:
    """Every line until the end of the block is about these too; what was told within ends with it."""
    token = _facts.set({**known(), **facts})
    try:
        yield
    finally:
        _facts.reset(token)


def tell(**facts: Fact) -> None:
    """What only turns out now, until the end of the block it happens in. Outside any nothing is told: it would stay."""
    if _facts.get(None) is not None:
        _facts.set({**known(), **facts})


def known() -> Mapping[str, Fact]:
    return _facts.get({})
