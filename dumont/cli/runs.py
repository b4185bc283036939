"""``operations``: what goes on and what went on; to follow one, or call it off."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dumont.client.operations import ENDED, Operation, standing, why_ended
from dumont.client.units import duration

from . import waiting
from .arguments import AnyInstance, AsJson, Limit, WaitAtMost
from .exits import Code, Failure
from .output import moment, print_json, say, table
from .session import Session, session_of


def operations(
    ctx: typer.Context,
    instance: AnyInstance = None,
    kind: Annotated[str | None, typer.Option("--kind", help="Only these: wake,hibernate.")] = None,
    state: Annotated[str | None, typer.Option("--state", help="Only these: running,queued.")] = None,
    follow: Annotated[
        int | None, typer.Option("--follow", min=1, metavar="N", help="Wait for this one, as --wait does.")
    ] = None,
    cancel: Annotated[
        int | None, typer.Option("--cancel", min=1, metavar="N", help="Call this one off.")
    ] = None,
    wait_at_most: WaitAtMost = None,
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """List operations, the newest first; follow one; call one off."""
    session = session_of(ctx)
    if follow and cancel:
        raise Failure(Code.USAGE, "Either --follow or --cancel.")
    if follow:
        _follow(session, follow, wait_at_most, as_json=as_json)
    elif cancel:
        _cancel(session, cancel, as_json=as_json)
    else:
        named = {"instance": instance, "kind": kind, "state": state, "limit": limit}
        asked = {name: value for name, value in named.items() if value is not None}
        _list(session.client.get("/api/operations", asked), as_json=as_json)


def _follow(session: Session, number: int, at_most: float | None, *, as_json: bool) -> None:
    operation = session.client.get(f"/api/operations/{number}")
    operation = waiting.follow(session.client, operation, at_most, quiet=as_json)
    if as_json:
        print_json(operation)
    waiting.check(operation)
    if not as_json:
        say(f"{operation['kind']} {number} of {operation['instance_id']} has succeeded.")


def _cancel(session: Session, number: int, *, as_json: bool) -> None:
    operation = session.client.post(f"/api/operations/{number}/cancel")
    if as_json:
        print_json(operation)
    elif operation["state"] in ENDED:
        say(f"{operation['kind']} {number} of {operation['instance_id']} is cancelled; it had not begun.")
    else:
        say(
            f"{operation['kind']} {number} of {operation['instance_id']} turns back; "
            f"follow it with: dumont operations --follow {number}"
        )


def _list(page: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(page)
        return
    table(
        ("N", "INSTANCE", "KIND", "STATE", "BEGAN", "TOOK", "BY", "HOW IT STANDS"),
        (_line(row) for row in page["operations"]),
        "There are no operations.",
    )


def _line(row: Operation) -> tuple[Any, ...]:
    return (
        row["id"],
        row["instance_id"],
        row["kind"],
        row["state"],
        moment(row["started_at"] or row["created_at"]),
        _took(row),
        row["actor"],
        _stands(row),
    )


def _took(row: Operation) -> str:
    steps = [step["seconds"] for step in row["steps"] if step["seconds"] is not None]
    return duration(sum(steps)) if row["state"] in ENDED and steps else ""


def _stands(row: Operation) -> str:
    if row["state"] not in ENDED:
        return standing(row)
    return "" if row["state"] == "succeeded" else why_ended(row)
