"""The contest: in every round each tool stores the workspace, stores it a day later, brings it back, and stores it
again on the restored machine. The tools take turns, and another one begins each round.
"""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.snapshot.change import NextDay
from benchmarks.snapshot.contest import Stage, Tool, warm
from benchmarks.snapshot.meter import Cost
from benchmarks.snapshot.picture import Picture, check_same, picture

Say = Callable[[str], None]


@dataclass
class Figures:
    """By (tool, stage), one entry a round. Stages: snapshot, next, restore, restored."""

    costs: dict[tuple[str, str], list[Cost]] = field(default_factory=lambda: defaultdict(list))
    stored: dict[tuple[str, str], list[int]] = field(default_factory=lambda: defaultdict(list))


class Contest:
    def __init__(self, stage: Stage, data: Path, scale: float, say: Say) -> None:
        self._stage = stage
        self._data = data
        self._day = NextDay(stage.workspace, stage.box / "stash", scale)
        self._old = stage.box / "old"
        self._say = say
        self.figures = Figures()

    def run(self, tools: Sequence[Tool], rounds: int, stages: set[str]) -> Figures:
        """``stages``: which of snapshot, next, restore; the first snapshot is always taken."""
        wanted = picture(self._data) if "restore" in stages else {}
        for number in range(rounds):
            turn = [*tools[number % len(tools) :], *tools[: number % len(tools)]]
            self._store(turn, "next" in stages)
            if "restore" in stages:
                for tool in turn:
                    self._bring_back(tool, wanted, "next" in stages)
                shutil.rmtree(self._old, ignore_errors=True)
        return self.figures

    def tidy(self) -> None:
        """Put back what a killed run left behind."""
        if not self._data.exists():
            self._day.undo()
            self._stage.workspace.rename(self._data)
        shutil.rmtree(self._stage.workspace, ignore_errors=True)
        shutil.rmtree(self._old, ignore_errors=True)
        self._day.discard()

    def _store(self, tools: Sequence[Tool], with_next: bool) -> None:
        workspace = self._stage.workspace
        self._data.rename(workspace)
        try:
            for tool in tools:
                tool.reset()
                self._snapshot(tool, "first", "snapshot")
            if with_next:
                self._day.apply()
                for tool in tools:
                    self._snapshot(tool, "next", "next")
        finally:
            self._day.undo()
            workspace.rename(self._data)

    def _bring_back(self, tool: Tool, wanted: Picture, with_next: bool) -> None:
        workspace = self._stage.workspace
        if tool.name == "rclone" and with_next:
            return  # it keeps no history: its second sync replaced the first
        workspace.mkdir()
        try:
            warm(self._stage.repos)
            self._note(tool, "restore", tool.restore())
            check_same(tool.name, wanted, workspace, metadata=tool.name != "rclone")
            if with_next and tool.on_restored:
                self._day.apply()
                for again in (tool, *tool.variants):
                    again.forget_next()
                    self._snapshot(again, "next", "restored")
        finally:
            self._put_aside(workspace)
            self._day.discard()

    def _put_aside(self, workspace: Path) -> None:
        """Deleted after the round: ext4 looks for each new file among the inodes deleted in the last minutes, which a
        new machine has none of.
        """
        self._old.mkdir(exist_ok=True)
        workspace.rename(self._old / str(len(os.listdir(self._old))))

    def _snapshot(self, tool: Tool, label: str, stage: str) -> None:
        warm(self._stage.workspace)
        before = tool.stored()
        self._note(tool, stage, tool.snapshot(label))
        self.figures.stored[tool.name, stage].append(tool.stored() - before)

    def _note(self, tool: Tool, stage: str, cost: Cost) -> None:
        self.figures.costs[tool.name, stage].append(cost)
        self._say(
            f"{tool.name:<16}{stage:<9}{cost.wall:7.2f} s wall{cost.cpu:7.2f} s CPU{cost.rss >> 20:6} MiB"
        )
