"""``ls``, ``status`` and ``events``: what the instances do, and what happened to them."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.panel import Panel

from dumont.client import units
from dumont.client.http import Answer, Client
from dumont.client.operations import standing

from . import waiting
from .arguments import AsJson, Instance, Limit
from .language import in_language
from .output import cell, draw, facts, moment, print_json, print_json_line, say, seconds_until, table
from .session import instance_path, session_of, status_of

FOLLOW_EVERY = 2.0
_PAGE = 100
Row = dict[str, Any]


def ls(
    ctx: typer.Context,
    status: Annotated[str | None, typer.Option("--status", help="Only these: running,idle.")] = None,
    search: Annotated[str | None, typer.Option("--search", help="A part of the id or the name.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the instances, and what each does."""
    asked = {name: value for name, value in (("status", status), ("search", search)) if value}
    pages = session_of(ctx).client.pages("/api/instances", asked)
    rows = [row for page in pages for row in page["instances"]]
    if as_json:
        print_json({"instances": rows, "next": None})
        return
    headings = ("INSTANCE", "STATUS", "AGENT", "GPU", "USE", "$/H", "SLEEPS IN", "GOES ON", "NAME")
    table(headings, (_line(row) for row in rows), "There are no instances.")


def _line(row: Row) -> tuple[Any, ...]:
    machine, operation = row["machine"], row["operation"]
    return (
        row["instance_id"],
        row["status"],
        row["freshness"] if machine else "",
        _gpu(row),
        _use(row),
        _price(machine),
        _countdown(row),
        in_language(f"{operation['kind']}: {standing(operation)}") if operation else "",
        row["name"],
    )


def _gpu(row: Row) -> str:
    machine = row["machine"]
    count = f"{machine['gpu_count']}x " if machine and machine["gpu_count"] > 1 else ""
    return f"{count}{row['vast_info']['gpu_type']}"


def _use(row: Row) -> str:
    return "" if row["gpu_utilization"] is None else f"{row['gpu_utilization']:.0f} %"


def _price(machine: Row | None) -> str:
    if machine is None:
        return ""
    return f"{float(machine['price_now'] or machine['price_per_hour']):.3f}"


def _countdown(row: Row) -> str:
    left = seconds_until(row["hibernate_due_at"])
    if left is not None:
        return units.duration(left)
    return "" if row["auto_hibernation"]["enabled"] or row["status"] != "idle" else "off"


def status(ctx: typer.Context, instance: Instance, as_json: AsJson = False) -> None:
    """Show one instance, and why it is (not) about to sleep."""
    row = status_of(session_of(ctx), instance)
    if as_json:
        print_json(row)
        return
    title = f"{row['instance_id']}  {row['name']}".rstrip()
    draw(Panel(facts(_facts(row)), title=cell(title), title_align="left", expand=False))


def _facts(row: Row) -> list[tuple[str, Any]]:
    machine, operation, rules = row["machine"] or {}, row["operation"], row["auto_hibernation"]
    sleeps = f"after {rules['pause_after_minutes']:g} min below {rules['gpu_usage_threshold']:g} %"
    store = row["storage"]
    return [
        ("status", row["status"]),
        ("why", row["explanation"]),
        ("sleeps in", _countdown(row)),
        ("goes on", f"{operation['kind']} {operation['id']}, {standing(operation)}" if operation else ""),
        ("GPU", f"{_gpu(row)}  {_use(row)}".rstrip()),
        ("agent", row["freshness"] if machine else ""),
        ("last work", moment(row["last_activity"])),
        ("hibernates", sleeps if rules["enabled"] else "only by order"),
        ("machine", " ".join(str(machine[k]) for k in ("contract_id", "state", "phase") if machine.get(k))),
        ("$/h", _price(row["machine"])),
        ("region", row["vast_info"]["region"]),
        ("ssh", f"{machine['ssh_host']} port {machine['ssh_port']}" if machine.get("ssh_host") else ""),
        ("snapshot", row["snapshot_id"]),
        (
            "in store",
            f"{units.size(store['bytes'])} in {store['snapshots']} snapshots" if store["bytes"] else "",
        ),
    ]


def events(
    ctx: typer.Context,
    instance: Instance,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """Tell what happened, the newest last. With -f and --json: a JSON object a line."""
    client, path = session_of(ctx).client, instance_path(instance, "events")
    first = client.call("GET", path, params={"limit": limit})
    found: list[Row] = first.body["events"]
    if as_json and not follow:
        print_json(first.body)
        return
    if not found and not follow:
        say("Nothing has happened yet.")
    tell(found[::-1], as_json=as_json)
    if follow:
        _follow(client, path, found[0]["id"] if found else 0, as_json=as_json)


def tell(rows: list[Row], *, as_json: bool) -> None:
    for row in rows:
        if as_json:
            print_json_line(row)
        else:
            say(f"{moment(row['timestamp'])}  {row['event_type']:<20} {row['reason']}")


def _follow(client: Client, path: str, seen: int, *, as_json: bool) -> None:
    """Asks with the tag of the last answer, so that no news costs next to nothing."""
    tag = ""
    while True:
        waiting.pause(FOLLOW_EVERY)
        headers = {"If-None-Match": tag} if tag else {}
        answer = _news(client, path, headers)
        tag = answer.headers.get("ETag", "")
        if not answer.body:
            continue
        fresh = _since(client, answer.body, seen)
        tell(fresh[::-1], as_json=as_json)
        seen = max([seen, *(row["id"] for row in fresh)])


def _news(client: Client, path: str, headers: dict[str, str]) -> Answer:
    return waiting.patiently(lambda: client.call("GET", path, params={"limit": _PAGE}, headers=headers))


def _since(client: Client, page: Row, seen: int) -> list[Row]:
    """Everything newer than ``seen``, newest first, however many pages it takes."""
    fresh = [row for row in page["events"] if row["id"] > seen]
    while page["next"] and len(fresh) and fresh[-1] is page["events"][-1] and seen:
        page = client.follow(page["next"])
        fresh += [row for row in page["events"] if row["id"] > seen]
    return fresh
