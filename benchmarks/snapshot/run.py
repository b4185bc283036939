"""Runs the chosen sections and turns what they measured into the table of goals."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from benchmarks.snapshot.codecs import codec_rows
from benchmarks.snapshot.contest import Stage, Tool, clear
from benchmarks.snapshot.engine import Dumont
from benchmarks.snapshot.meter import Cost
from benchmarks.snapshot.page import PAGE
from benchmarks.snapshot.peers import Borg, Rclone, Restic, ResticTuned, TarZstd
from benchmarks.snapshot.report import HEADINGS, Row, markdown, ratio_row, table
from benchmarks.snapshot.rounds import Contest, Figures
from benchmarks.snapshot.sections import precopy_rows, shaped_rows, unchanged_rows, usable_rows
from benchmarks.snapshot.store import serve
from benchmarks.snapshot.tools import fetch_tools
from benchmarks.snapshot.workspace import install_packages, make_workspace

SECTIONS = ("snapshot", "next", "restore", "codec", "unchanged", "shaped", "usable", "precopy")
STAGES = ("snapshot", "next", "restore")
ALL_STAGES = (*STAGES, "restored")
PEERS = {peer.name: peer for peer in (TarZstd, Restic, ResticTuned, Borg, Rclone)}
_RSS_GOAL = 700.0


@dataclass(frozen=True, slots=True)
class Options:
    work: Path
    sections: frozenset[str]
    rounds: int
    scale: float
    peers: tuple[str, ...]
    markdown: Path | None


def run(options: Options) -> bool:
    """Print the result; whether every goal that was measured is met."""
    data = _workspace(options)
    folder = options.work / "stage"
    shared = Stage(folder / "box", folder / "repos", "")
    shared.box.mkdir(parents=True, exist_ok=True)
    clear(shared.repos)
    with serve(shared.repos) as store:
        stage = Stage(shared.box, shared.repos, store.url)
        tools = contestants(stage, options)
        versions = [tool.version() for tool in tools if not isinstance(tool, ResticTuned)]
        contest = Contest(stage, data, options.scale, say)
        contest.tidy()
        stages = set(STAGES) & options.sections
        figures = contest.run(tools, options.rounds, stages) if stages else Figures()
        clear(stage.repos)
        rows = contest_rows(figures) + _other_rows(options, stage, data)
    shutil.rmtree(folder)
    _publish(options, describe(data), versions, figures, rows)
    return all(row.met for row in rows)


def contestants(stage: Stage, options: Options) -> list[Tool]:
    if not options.peers:
        return [Dumont(stage)]
    tools = fetch_tools(options.work / "tools")
    return [Dumont(stage), *(PEERS[name](stage, tools) for name in options.peers)]


def contest_rows(figures: Figures) -> list[Row]:
    """The goals against each peer that took part."""
    rows = []
    for stage in STAGES:
        rows += _against(figures, stage, "tar", "cpu", 0.55, f"CPU of {stage} / tar, zstd, s5cmd")
    for stage, goal in (("snapshot", 1 / 4), ("next", 1 / 3), ("restore", 1 / 2), ("restored", 1 / 4)):
        name = "next on a restored box" if stage == "restored" else stage
        for peer in ("restic", "restic-tuned"):
            rows += _against(figures, stage, peer, "wall", goal, f"wall of {name} / {peer}")
    rows += _against(figures, "restored", "restic-trusting", "wall", None, "the same / restic-trusting")
    for peer, goal in (("tar", 0.93), ("restic", 0.85)):
        rows += _bytes_against(figures, peer, goal)
    peaks = [
        cost.rss / 2**20 for (name, _), costs in figures.costs.items() if name == "dumont" for cost in costs
    ]
    return (
        [*rows, Row("peak memory of our jobs", (max(peaks),), " MiB", at_most=_RSS_GOAL)] if peaks else rows
    )


def _against(figures: Figures, stage: str, peer: str, what: str, goal: float | None, title: str) -> list[Row]:
    ours, theirs = figures.costs.get(("dumont", stage)), figures.costs.get((peer, stage))
    if not ours or not theirs:
        return []
    return [
        ratio_row(
            title, [getattr(cost, what) for cost in ours], [getattr(cost, what) for cost in theirs], goal
        )
    ]


def _bytes_against(figures: Figures, peer: str, goal: float) -> list[Row]:
    """Both days together where both were stored."""
    stages = [stage for stage in ("snapshot", "next") if figures.stored.get((peer, stage))]
    if not stages:
        return []
    ours, theirs = (
        [sum(sizes) for sizes in zip(*(figures.stored[name, stage] for stage in stages), strict=True)]
        for name in ("dumont", peer)
    )
    return [ratio_row(f"bytes stored / {peer}", ours, theirs, goal)]


def _other_rows(options: Options, stage: Stage, data: Path) -> list[Row]:
    rounds, scale = options.rounds, options.scale
    sections: dict[str, Callable[[], list[Row]]] = {
        "codec": lambda: codec_rows(rounds, scale),
        "unchanged": lambda: unchanged_rows(stage, rounds, scale),
        "shaped": lambda: shaped_rows(stage, data, rounds),
        "usable": lambda: usable_rows(stage, data, rounds, scale),
        "precopy": lambda: precopy_rows(stage, data, rounds, scale),
    }
    rows = []
    for name, measured in sections.items():
        if name in options.sections:
            say(f"section {name}")
            rows += measured()
    return rows


def costs_table(figures: Figures) -> list[tuple[str, ...]]:
    """Per tool: wall / CPU seconds of each stage, bytes stored on the first and the second day."""
    rows: list[tuple[str, ...]] = [
        ("tool", *(f"{stage}: wall / CPU s" for stage in ALL_STAGES), "stored (+ next) MB")
    ]
    for tool in dict.fromkeys(name for name, _ in figures.costs):
        cells = [_cost_cell(figures.costs.get((tool, stage), [])) for stage in ALL_STAGES]
        stored = [
            median(figures.stored[tool, stage]) / 1e6 for stage in STAGES if figures.stored.get((tool, stage))
        ]
        rows.append((tool, *cells, " + ".join(f"{size:,.0f}" for size in stored)))
    return rows


def _cost_cell(costs: Sequence[Cost]) -> str:
    if not costs:
        return ""
    walls = [cost.wall for cost in costs]
    return (
        f"{median(walls):.1f} / {median(cost.cpu for cost in costs):.1f} + {median(cost.beside for cost in costs):.1f} "
        f"({min(walls):.1f}–{max(walls):.1f})"
    )


def describe(data: Path) -> str:
    paths = [path for path in data.rglob("*") if path.is_file() and not path.is_symlink()]
    return f"{sum(path.stat().st_size for path in paths) / 1e9:.2f} GB in {len(paths):,} files"


def machine() -> str:
    model = next(
        line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} × {model.split(':')[1].strip()}, {memory:.0f} GiB, Linux {platform.release()}"


def _workspace(options: Options) -> Path:
    options.work.mkdir(parents=True, exist_ok=True)
    data = options.work / f"workspace-{options.scale:g}"
    packages = install_packages(options.work) if options.peers else None
    if not (options.work / "stage/box/workspace").exists():
        make_workspace(data, options.scale, packages)
    return data


def _publish(
    options: Options, workspace: str, versions: Sequence[str], figures: Figures, rows: Sequence[Row]
) -> None:
    goals = [HEADINGS, *(row.cells() for row in rows)]
    costs = costs_table(figures)
    rounds = "one round" if options.rounds == 1 else f"{options.rounds} rounds"
    facts = [machine(), f"workspace: {workspace}; {rounds}", *versions]
    print("\n".join(["", *facts, "", table(costs), "", table(goals)]), flush=True)
    if options.markdown:
        page = PAGE.format(
            date=datetime.now(UTC).date(),
            facts="\n".join(f"- {fact}" for fact in facts),
            goals=markdown(goals),
            costs=markdown(costs),
        )
        options.markdown.write_text(page)


def say(text: str) -> None:
    print(text, flush=True)
