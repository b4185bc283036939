"""What people see, and what scripts read. Nothing a server sends reaches a terminal with a control character in it."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from dumont.client.units import plain

from .language import in_language

# On a pipe nothing is cut to a width.
_WIDE = 4096
_COLOURS = {
    "running": "green",
    "idle": "yellow",
    "provisioning": "cyan",
    "waking": "cyan",
    "hibernating": "cyan",
    "hibernated": "blue",
    "deleted": "blue",
    "failed": "red",
    "fresh": "green",
    "stale": "yellow",
    "lost": "red",
    "succeeded": "green",
    "cancelled": "yellow",
    "queued": "cyan",
    "verified": "green",
}


def console(*, to_stderr: bool = False) -> Console:
    """Without markup, which a name could hold as well as we."""
    stream = sys.stderr if to_stderr else sys.stdout
    width = None if stream.isatty() else _WIDE
    return Console(file=stream, markup=False, highlight=False, emoji=False, soft_wrap=False, width=width)


def speak_plainly() -> None:
    """A terminal that cannot show a character gets its escape instead of an end of the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def print_json(data: Any) -> None:
    """Pure ASCII: whatever is in it arrives as its escape."""
    print(json.dumps(data, indent=2))


def print_json_line(data: Any) -> None:
    print(json.dumps(data), flush=True)


def say(text: str) -> None:
    """One line of ours, or with text of others in it."""
    console().print(Text(plain(in_language(text))), soft_wrap=True)


def complain(message: str) -> None:
    """To stderr, line by line as given."""
    for line in message.split("\n"):
        print(plain(in_language(line)), file=sys.stderr)


def table(headings: Sequence[str], rows: Iterable[Sequence[Any]], empty: str) -> None:
    """Columns without frames; ``empty`` is said where there are no rows."""
    shown = [[cell(value) for value in row] for row in rows]
    if not shown:
        say(empty)
        return
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        drawn.add_column(Text(in_language(heading)), overflow="fold")
    for row in shown:
        drawn.add_row(*row)
    draw(drawn)


def draw(what: RenderableType) -> None:
    """Without the blanks that fill up a last column."""
    to = console()
    with to.capture() as drawn:
        to.print(what)
    for line in drawn.get().splitlines():
        print(line.rstrip())


def facts(rows: Iterable[tuple[str, Any]]) -> Table:
    """Names and values, one pair a line; what is empty is left out."""
    drawn = Table(box=None, pad_edge=False, show_header=False)
    drawn.add_column(style="dim", no_wrap=True)
    drawn.add_column(overflow="fold")
    for name, value in rows:
        if value not in (None, ""):
            drawn.add_row(Text(in_language(name)), cell(told(value)))
    return drawn


def told(value: Any) -> Any:
    """A state keeps its name, by which commands and the API know it."""
    return in_language(value) if isinstance(value, str) and value not in _COLOURS else value


def cell(value: Any) -> Text:
    text = "" if value is None else plain(value)
    return Text(text, style=_COLOURS.get(text, ""))


def moment(value: str | None) -> str:
    """An ISO time as the local clock shows it; what is no time, as it is."""
    try:
        return "" if value is None else f"{datetime.fromisoformat(value).astimezone():%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError):
        return value or ""


def seconds_until(value: str | None) -> float | None:
    """By this machine's clock."""
    try:
        return None if value is None else (datetime.fromisoformat(value) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return None
