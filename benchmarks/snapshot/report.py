"""The table: what was measured, the goal, how far the rounds lie apart, and whether the goal is met."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

HEADINGS = ("", "goal", "figure", "min – max", "")


@dataclass(frozen=True, slots=True)
class Row:
    """One figure per round. ``at_most``/``at_least``: the goal for the median; neither: for information."""

    title: str
    figures: tuple[float, ...]
    unit: str = ""
    at_most: float | None = None
    at_least: float | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.figures)

    @property
    def met(self) -> bool:
        if self.at_most is not None:
            return self.median <= self.at_most
        return self.at_least is None or self.median >= self.at_least

    def cells(self) -> tuple[str, ...]:
        spread = f"{_number(min(self.figures))} – {_number(max(self.figures))}"
        return self.title, self._goal(), _number(self.median) + self.unit, spread, self._verdict()

    def _goal(self) -> str:
        if self.at_most is not None:
            return f"≤ {_number(self.at_most)}{self.unit}"
        return "" if self.at_least is None else f"≥ {_number(self.at_least)}{self.unit}"

    def _verdict(self) -> str:
        if self.at_most is None and self.at_least is None:
            return ""
        return "pass" if self.met else "MISSED"


def ratio_row(title: str, ours: Sequence[float], theirs: Sequence[float], at_most: float | None) -> Row:
    """Round by round: our figure divided by theirs of the same round."""
    return Row(title, tuple(a / b for a, b in zip(ours, theirs, strict=True)), at_most=at_most)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns for a terminal."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    return "\n".join("  ".join(row).rstrip() for row in padded)


def markdown(rows: Sequence[Sequence[str]]) -> str:
    head, *rest = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([head, "|" + "---|" * len(rows[0]), *rest])


def _number(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
