"""Waiting for an operation: live on a terminal, in plain lines elsewhere. The operation goes on without us."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from dumont.client.errors import Refused, Unreachable
from dumont.client.http import Answer, Client
from dumont.client.operations import ENDED, Operation, Steps, standing, why_ended
from dumont.client.units import plain

from .exits import Code, Failure
from .language import in_language
from .output import console

LOOK_EVERY = 1.0
_TOO_MANY = 429
PATIENCE = 60.0
"""How long a server may be away, as while it restarts, before the waiting ends."""
_LINE_EVERY = 5.0


class View(Protocol):
    def show(self, operation: Operation) -> None: ...


def pause(seconds: float) -> None:
    time.sleep(seconds)


def follow(client: Client, operation: Operation, at_most: float | None, *, quiet: bool = False) -> Operation:
    """As it is when it has ended, or after ``at_most`` seconds. ``Failure`` when nobody can or wants to wait any more.

    ``quiet``: what is told goes to stderr, and only where that is a terminal.
    """
    until = None if at_most is None else time.monotonic() + at_most
    try:
        with _view(quiet) as view:
            return _watch(client, operation, view, until)
    except KeyboardInterrupt:
        raise Failure(Code.INTERRUPTED, _goes_on(operation)) from None
    except Unreachable as error:
        raise Failure(Code.UNREACHABLE, f"{error.message}\n{_goes_on(operation)}") from None


def check(operation: Operation) -> None:
    """``Failure`` unless it has succeeded."""
    if operation["state"] not in ENDED:
        raise Failure(Code.TIMED_OUT, f"At {standing(operation)}\n{_goes_on(operation)}")
    if operation["state"] != "succeeded":
        name, why, cancelled = _name(operation), why_ended(operation), operation["state"] == "cancelled"
        raise Failure(Code.FAILED, f"{name} {'was cancelled' if cancelled else 'failed'}: {why}")


def _name(operation: Operation) -> str:
    return f"The {operation['kind']} of {operation['instance_id']}"


def _goes_on(operation: Operation) -> str:
    return f"{_name(operation)} goes on; follow it with: dumont operations --follow {operation['id']}"


def _watch(client: Client, operation: Operation, view: View, until: float | None) -> Operation:
    path = f"/api/operations/{operation['id']}"
    view.show(operation)
    while operation["state"] not in ENDED and (until is None or time.monotonic() < until):
        pause(LOOK_EVERY)
        operation = patiently(lambda: client.call("GET", path)).body
        view.show(operation)
    return operation


def patiently(ask: Callable[[], Answer]) -> Answer:
    """What a harmless question is answered; for ``PATIENCE`` asked again while the server is away or hears too many."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return ask()
        except (Unreachable, Refused) as error:
            if isinstance(error, Refused) and error.status != _TOO_MANY:
                raise
            if time.monotonic() >= deadline:
                raise
            pause(LOOK_EVERY)


def _view(quiet: bool) -> AbstractContextManager[View]:
    stream = sys.stderr if quiet else sys.stdout
    if stream.isatty():
        return Live(console(to_stderr=quiet))
    return nullcontext(Silence() if quiet else Lines())


class Silence:
    def show(self, operation: Operation) -> None:
        pass


class Lines:
    """A line for each step that ended; how it stands when that is another step, and every few seconds."""

    def __init__(self) -> None:
        self._steps = Steps()
        self._told = ("", "")
        self._told_at = 0.0

    def show(self, operation: Operation) -> None:
        for step in self._steps.ended(operation):
            self._print(step_line(step))
        text, now = standing(operation), time.monotonic()
        if operation["state"] in ENDED or text in (self._told[1], f"{operation['step']}: ..."):
            return
        if operation["step"] != self._told[0] or now - self._told_at >= _LINE_EVERY:
            self._print(in_language(text))
            self._told, self._told_at = (operation["step"], text), now

    def _print(self, line: str) -> None:
        print(plain(line), flush=True)


class Live:
    """Steps that ended, one below the other, and a bar that moves."""

    def __init__(self, to: Console) -> None:
        self._steps = Steps()
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            console=to,
            transient=True,
        )
        self._task = self._progress.add_task("", total=None)

    def __enter__(self) -> Live:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, operation: Operation) -> None:
        for step in self._steps.ended(operation):
            self._progress.console.print(Text(plain(step_line(step))))
        done, total = _share(operation)
        self._progress.update(
            self._task, description=plain(in_language(standing(operation))), completed=done, total=total
        )


def step_line(step: Operation) -> str:
    return f"{step['step']:<9}{step['seconds']:8.2f} s"


def _share(operation: Operation) -> tuple[float, float | None]:
    facts = operation["progress"]
    for unit in ("packs", "bytes"):
        if facts.get(f"{unit}_total"):
            return float(facts[f"{unit}_done"]), float(facts[f"{unit}_total"])
    return 0.0, None
