"""One arena for all: starting it takes longer than most tests, and each test has instances of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.chaos.arena import Arena
from tests.chaos.arena import arena as running_arena
from tests.chaos.subject import Subject

MakeSubjects = Callable[..., list[Subject]]


@pytest.fixture(scope="session")
def arena() -> Iterator[Arena]:
    with running_arena() as place:
        yield place


@pytest.fixture(scope="session")
def make_subjects(arena: Arena) -> MakeSubjects:
    """Registers and starts instances together; each has its workspace when this returns."""

    def make(*names: str, **options: float) -> list[Subject]:
        arena.register(*names, **options)  # type: ignore[arg-type]
        subjects = [Subject(arena, name) for name in names]
        for subject in subjects:
            subject.start()
        for subject in subjects:
            subject.fill()
        return subjects

    return make
