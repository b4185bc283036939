"""``hibernate`` and ``wake``: the two orders, sent so that a lost answer never makes two of one."""

from __future__ import annotations

import uuid
from typing import Any

import typer

from dumont.client.errors import Unreachable
from dumont.client.http import Client
from dumont.client.operations import Operation
from dumont.client.units import duration

from . import waiting
from .arguments import AsJson, Gpu, Instance, MaxPrice, Region, Wait, WaitAtMost
from .output import print_json, say
from .session import Session, instance_path, session_of, status_of

_TRIES = 3


def hibernate(
    ctx: typer.Context,
    instance: Instance,
    wait: Wait = False,
    wait_at_most: WaitAtMost = None,
    as_json: AsJson = False,
) -> None:
    """Save the workspace, prove the copy, end the rental.

    Whatever the GPU does. Without --wait it is only begun.
    """
    session = session_of(ctx)
    asked = order(session.client, instance, "hibernate")
    ended = carry_on(session, asked, wait, wait_at_most, as_json=as_json)
    if ended is not None and not as_json:
        say(f"{instance} is hibernated; saved as {ended['result'].get('snapshot_id')}")


def wake(
    ctx: typer.Context,
    instance: Instance,
    gpu: Gpu = None,
    region: Region = None,
    max_price: MaxPrice = None,
    wait: Wait = False,
    wait_at_most: WaitAtMost = None,
    as_json: AsJson = False,
) -> None:
    """Bring the workspace back on another machine."""
    session = session_of(ctx)
    asked = order(session.client, instance, "wake", wish(gpu, region, max_price))
    ended = carry_on(session, asked, wait, wait_at_most, as_json=as_json)
    if ended is not None and not as_json:
        machine = status_of(session, instance)["machine"] or {}
        where = f" at {machine['ssh_host']} port {machine['ssh_port']}" if machine.get("ssh_host") else ""
        taken = f" after {duration(ended['result'].get('time_taken') or 0)}"
        say(f"{instance} is awake{taken}{where}; enter it with: dumont ssh {instance}")


def wish(gpu: str | None, region: str | None, max_price: str | None) -> dict[str, Any]:
    named = {"gpu_type": gpu, "region": region, "max_price": max_price}
    return {name: value for name, value in named.items() if value is not None}


def order(client: Client, instance: str, kind: str, body: dict[str, Any] | None = None) -> Operation:
    """Sent again under the same key when no answer came: it is one order, however often it arrives."""
    path, key = instance_path(instance, kind), f"cli-{uuid.uuid4()}"
    for tries_left in reversed(range(_TRIES)):
        try:
            reply = client.post(path, body, key=key)
            break
        except Unreachable:
            if not tries_left:
                raise
            waiting.pause(waiting.LOOK_EVERY)
    if "id" in reply:
        return reply
    # It has succeeded meanwhile, and was answered with what it came to.
    asked = {"instance": instance, "kind": kind, "limit": 1}
    found: Operation = client.get("/api/operations", asked)["operations"][0]
    return found


def carry_on(
    session: Session, asked: Operation, wait: bool, at_most: float | None, *, as_json: bool
) -> Operation | None:
    """The operation when it was waited for, its JSON printed where that is wanted; ``None`` when it just goes on."""
    if wait or at_most is not None:
        operation = waiting.follow(session.client, asked, at_most, quiet=as_json)
        if as_json:
            print_json(operation)
        waiting.check(operation)
        return operation
    if as_json:
        print_json(asked)
    else:
        say(
            f"{asked['kind']} {asked['id']} of {asked['instance_id']} is {asked['state']}; "
            f"follow it with: dumont operations --follow {asked['id']}"
        )
    return None
