"""The fence's answer: what is not said clearly is neither clean nor idle."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from hibernation.box.fence import fence, parse_fence, resume_writers
from hibernation.box.ssh import Shell
from hibernation.domain.errors import BoxError

CLEAN: dict[str, Any] = {"dirty": False, "changed": 0, "sample": [], "gpu_utilizations": [0.0]}


class FakeShell:
    """A machine that gives one answer and remembers what it was asked."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self.answer = json.dumps(answer)
        self.commands: list[str] = []

    def run(self, command: str, *, timeout: float, input: str | None = None) -> str:
        self.commands.append(command)
        return self.answer

    def put_bytes(self, data: bytes, remote_path: str, mode: int) -> None:
        raise NotImplementedError

    @contextmanager
    def connected(self) -> Iterator[Shell]:
        yield self


def test_a_clean_and_idle_machine_says_so() -> None:
    report = parse_fence(CLEAN)
    assert (report.changed, report.sample, report.utilizations) == (0, (), (0.0,))


def test_dirty_without_a_count_is_at_least_one_change() -> None:
    assert parse_fence({**CLEAN, "dirty": True}).changed == 1


def test_changes_count_whatever_it_says_of_being_clean() -> None:
    assert parse_fence({**CLEAN, "changed": 2}).changed == 2


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {**CLEAN, "dirty": "no"},
        {**CLEAN, "dirty": 0},
        {**CLEAN, "changed": "0"},
        {**CLEAN, "changed": -1},
        {**CLEAN, "changed": True},
        {**CLEAN, "sample": 3},
        {**CLEAN, "gpu_utilizations": None},
        {**CLEAN, "gpu_utilizations": [0.0] * 65},
    ],
)
def test_an_answer_of_another_shape_is_refused(answer: dict[str, Any]) -> None:
    with pytest.raises(BoxError, match="makes no sense"):
        parse_fence(answer)


@pytest.mark.parametrize("value", [None, "0", True, -1, 101, [], 1e400])
def test_a_utilization_that_is_no_per_cent_is_unknown(value: object) -> None:
    assert parse_fence({**CLEAN, "gpu_utilizations": [value]}).utilizations == (None,)


def test_paths_are_quoted() -> None:
    shell = FakeShell(CLEAN)
    fence(shell, "/work space;rm", "~/.dumont/a b")
    expected = "--workspace '/work space;rm' --state-file ~/'.dumont/a b' --record ~/.dumont/paused.json"
    assert shell.commands[-1].endswith(f"agents.pyz fence {expected}")


def test_resume_asks_the_agent() -> None:
    shell = FakeShell({"resumed": [], "gone": 0})
    resume_writers(shell)
    assert shell.commands[-1].endswith("agents.pyz resume-writers --record ~/.dumont/paused.json")
