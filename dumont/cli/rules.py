"""``config`` and ``schedule``: an instance's rules, and the hours at which it wakes and sleeps."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from dumont.client.errors import Refused
from dumont.client.http import Client, Json

from .arguments import AsJson, Instance
from .exits import Code, Failure
from .output import draw, facts, print_json, say
from .session import instance_path, session_of

_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
_TOLD_ONLY = {"instance_id", "next"}
Shape = dict[str, Any]


def config(
    ctx: typer.Context,
    instance: Instance,
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...", help="What to change. KEY=@FILE: from a file; null: no limit."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show an instance's rules, or change those that are named."""
    client, path = session_of(ctx).client, instance_path(instance, "config")
    found = client.put(path, _wish(client, settings)) if settings else client.get(path)
    _show(found, as_json=as_json)


def _show(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    draw(facts((name, _written(value)) for name, value in found.items()))


def _written(value: Any) -> str:
    """As it can be given again."""
    return value if isinstance(value, str) and value else json.dumps(value)


def _wish(client: Client, settings: list[str]) -> dict[str, Any]:
    known = _shapes(client)
    wish = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise Failure(Code.USAGE, f"{setting!r} is not KEY=VALUE.")
        if name not in known:
            raise Failure(Code.USAGE, f"There is no setting {name!r}. There are: {', '.join(sorted(known))}.")
        wish[name] = typed(name, text, known[name])
    return wish


def _shapes(client: Client) -> dict[str, Shape]:
    """What the API says of each setting that can be changed."""
    schema = client.get("/api/schema", {"format": "json"})
    try:
        found: dict[str, Shape] = schema["components"]["schemas"]["ConfigRequest"]["properties"]
        return found
    except (KeyError, TypeError):
        raise Failure(Code.UNREACHABLE, "The API does not say which settings there are.") from None


def typed(name: str, text: str, shape: Shape) -> Any:
    """``text`` as a value of the kind that the API says it takes; ``Failure`` if it is none."""
    if text == "null" and "null" in shape["type"]:
        return None
    try:
        return _value(text, shape)
    except (ValueError, OSError) as error:
        why = f": {error.strerror}" if isinstance(error, OSError) else ""
        raise Failure(Code.USAGE, f"{name} takes {_KINDS.get(_kind(shape), _kind(shape))}{why}.") from None


_KINDS = {
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "array": "a list: a,b or a JSON list, or @FILE with a line for each",
    "object": 'a JSON object such as {"A": "b"}, or @FILE with one',
}


def _value(text: str, shape: Shape) -> Any:
    kind = _kind(shape)
    if kind == "boolean":
        if text.lower() not in _WORDS:
            raise ValueError(text)
        return _WORDS[text.lower()]
    if kind == "integer":
        return int(text)
    if kind == "number":
        return float(text)
    if kind == "array":
        return _list(text, shape["items"])
    if kind == "object":
        found = json.loads(_read(text))
        if not isinstance(found, dict):
            raise ValueError(text)
        return found
    return text


def _kind(shape: Shape) -> str:
    """What it is when it is not null."""
    kinds = [shape["type"]] if isinstance(shape["type"], str) else shape["type"]
    return str(next(kind for kind in kinds if kind != "null"))


def _list(text: str, shape: Shape) -> list[Any]:
    if text.startswith("["):
        found = json.loads(text)
        if not isinstance(found, list):
            raise ValueError(text)
        return found
    words = _read(text).splitlines() if text.startswith("@") else text.split(",")
    return [_value(word, shape) for word in words if word]


def _read(text: str) -> str:
    return Path(text[1:]).read_text(encoding="utf-8") if text.startswith("@") else text


def schedule(
    ctx: typer.Context,
    instance: Instance,
    wake: Annotated[str | None, typer.Option("--wake", metavar="HH:MM", help="When to wake.")] = None,
    sleep: Annotated[str | None, typer.Option("--sleep", metavar="HH:MM", help="When to sleep.")] = None,
    timezone: Annotated[str | None, typer.Option("--timezone", help="As America/Sao_Paulo.")] = None,
    days: Annotated[str | None, typer.Option("--days", metavar="DAYS", help="As mon-fri or mon,wed.")] = None,
    clear: Annotated[bool, typer.Option("--clear", help="No schedule any more.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show an instance's schedule, change what is named of it, or clear it."""
    client, path = session_of(ctx).client, instance_path(instance, "schedule")
    wish = _hours(wake, sleep, timezone, days)
    if clear and wish:
        raise Failure(Code.USAGE, "Either --clear or times, not both.")
    try:
        found = client.delete(path) if clear else _changed(client, path, wish)
    except Refused as error:
        raise _without_schedules(client, instance, error) from None
    if clear and not as_json:
        say(f"{instance} has no schedule.")
    else:
        _show(found, as_json=as_json)


def _changed(client: Client, path: str, wish: Json) -> Json:
    """The schedule with ``wish`` in it. A PUT replaces the whole, so what is not named is sent as it was."""
    found = client.get(path)
    if not wish:
        return found
    kept = {name: value for name, value in found.items() if name not in _TOLD_ONLY}
    return client.put(path, (kept if _is_set(found) else {}) | wish)


def _is_set(found: Json) -> bool:
    """Where there is no schedule, the API says no more than that it is off."""
    return set(found) != {"enabled"}


def _hours(wake: str | None, sleep: str | None, timezone: str | None, days: str | None) -> Json:
    for name, value in (("--wake", wake), ("--sleep", sleep)):
        if value is not None and not _TIME.fullmatch(value):
            raise Failure(Code.USAGE, f"{name} takes a time such as 09:00.")
    named: dict[str, Any] = {"wake_time": wake, "sleep_time": sleep, "timezone": timezone}
    wish = {name: value for name, value in named.items() if value is not None}
    if days is not None:
        wish["days"] = week(days)
    return wish


def week(text: str) -> list[str]:
    """``mon-fri,sun`` as the API takes it: each day by name, Monday first. A span may go over Sunday."""
    found: set[int] = set()
    for part in text.lower().split(","):
        first, dash, last = part.strip().partition("-")
        if first not in _DAYS or (dash and last not in _DAYS):
            raise Failure(Code.USAGE, "--days takes days such as mon-fri or mon,wed.")
        start = _DAYS.index(first)
        length = (_DAYS.index(last) - start) % 7 if dash else 0
        found.update((start + n) % 7 for n in range(length + 1))
    return [_DAYS[day] for day in sorted(found)]


def _without_schedules(client: Client, instance: str, error: Refused) -> Exception:
    """A server of before schedules answers for every instance that there is none: told apart from a missing one."""
    if error.status not in (404, 405):
        return error
    client.get(instance_path(instance, "status"))
    if error.status == 404 and "schedule" in error.message:
        return error
    return Failure(Code.NOT_FOUND, "This server has no schedules: it is of a version before them.")
