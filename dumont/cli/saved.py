"""``snapshots``, ``files`` and ``get``: what is saved, looked into without a machine."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, Any
from urllib.parse import quote

import httpx
import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

from dumont.client import units

from .arguments import AsJson, Instance
from .exits import Code, Failure
from .output import console, moment, print_json, say, table
from .session import Session, instance_path, session_of, status_of

LATEST = "latest"
Which = Annotated[str, typer.Argument(metavar="[SNAPSHOT]", help="Its name, or latest.")]


def snapshots(ctx: typer.Context, instance: Instance, as_json: AsJson = False) -> None:
    """List the snapshots of an instance, and why each is kept."""
    pages = session_of(ctx).client.pages(instance_path(instance, "snapshots"))
    rows = [row for page in pages for row in page["snapshots"]]
    if as_json:
        print_json({"snapshots": rows, "next": None})
        return
    table(
        ("SNAPSHOT", "STATE", "MADE", "FILES", "SIZE", "SENT", "", "WHY IT IS KEPT"),
        (_snapshot_line(row) for row in rows),
        f"{instance} has no snapshot.",
    )


def _snapshot_line(row: dict[str, Any]) -> tuple[Any, ...]:
    why = row["retention"]
    return (
        row["name"],
        row["state"],
        moment(row["frozen_at"] or row["created_at"]),
        row["files"],
        units.size(row["bytes_logical"] or 0),
        units.size(row["bytes_stored_new"] or 0),
        "current" if row["is_current"] else "",
        (why["reason"] if why["keep"] else f"about to be deleted: {why['reason']}") if why else "",
    )


def files(
    ctx: typer.Context,
    instance: Instance,
    snapshot: Which = LATEST,
    path: Annotated[str, typer.Argument(metavar="[PATH]", help="A folder, from the workspace.")] = "",
    search: Annotated[str | None, typer.Option("--search", help="Below there, names that hold this.")] = None,
    as_json: AsJson = False,
) -> None:
    """List a folder of a snapshot."""
    session = session_of(ctx)
    query = f"?path={_quoted(path)}" + (f"&search={_quoted(search)}" if search else "")
    pages = session.client.pages(_inside(session, instance, snapshot, "files") + query)
    rows = [row for page in pages for row in page["entries"]]
    if as_json:
        print_json({"entries": rows, "next": None})
        return
    shown = "path" if search else "name"
    table(
        ("MODE", "SIZE", "CHANGED", "NAME"),
        ((row["mode"] or "", _size(row), moment(row["mtime"]), _name(row, shown)) for row in rows),
        "This folder is empty." if not search else "Nothing is named so.",
    )


def _size(row: dict[str, Any]) -> str:
    return units.size(row["size"]) if row["type"] == "file" else ""


def _name(row: dict[str, Any], shown: str) -> str:
    mark = "/" if row["type"] == "dir" else f" -> {row['target']}" if row["type"] == "symlink" else ""
    return f"{row[shown]}{mark}"


def get(
    ctx: typer.Context,
    instance: Instance,
    path: Annotated[str, typer.Argument(metavar="PATH", help="The file, from the workspace.")],
    to: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to; - for stdout.")
    ] = None,
    snapshot: Annotated[str, typer.Option("--snapshot", help="Its name, or latest.")] = LATEST,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Fetch one file out of a snapshot. It is there whole or not at all."""
    session = session_of(ctx)
    target = to or Path(Path(path).name)
    to_stdout = str(target) == "-"
    if not target.name or (to_stdout and as_json):
        raise Failure(
            Code.USAGE, "Say with -o FILE where to put it." if not target.name else "- holds no JSON too."
        )
    if not to_stdout and os.path.lexists(target) and not force:
        raise _taken(target)
    address = _inside(session, instance, snapshot, "files", "content") + f"?path={_quoted(path)}"
    with session.client.stream(address) as reply:
        if to_stdout:
            size = _receive(reply, sys.stdout.buffer, quiet=True)
        else:
            with _arriving(target, force=force) as file:
                size = _receive(reply, file, quiet=as_json)
    if as_json:
        print_json({"path": path, "file": os.fsencode(target).decode(errors="replace"), "bytes": size})
    elif not to_stdout:
        say(f"{units.size(size)} in {target}")


def _inside(session: Session, instance: str, snapshot: str, *more: str) -> str:
    if snapshot in (LATEST, "-"):
        found = status_of(session, instance)["snapshot_id"]
        if found is None:
            raise Failure(Code.NOT_FOUND, f"{instance} has no snapshot yet.")
        snapshot = found
    return instance_path(instance, "snapshots", snapshot, *more)


def _quoted(path: str) -> str:
    """File names are bytes, whatever the terminal's encoding made of them."""
    return quote(os.fsencode(path), safe="")


def _taken(target: Path) -> Failure:
    return Failure(Code.USAGE, f"{target} is there already: use --force, or -o FILE for another place.")


@contextmanager
def _arriving(target: Path, *, force: bool) -> Iterator[IO[bytes]]:
    """A file beside ``target``, for its owner only, that takes that name when all went well, and is gone when not."""
    try:
        number, beside = tempfile.mkstemp(".part", f".{target.name}.", target.parent)
        try:
            with open(number, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            (os.replace if force else _name_anew)(beside, target)
        finally:
            Path(beside).unlink(missing_ok=True)
    except FileExistsError:
        raise _taken(target) from None
    except OSError as error:
        raise Failure(Code.FAILED, f"{target} cannot be written: {error.strerror or error}.") from None


def _name_anew(beside: str, target: Path) -> None:
    """``FileExistsError`` if somebody made ``target`` since we looked: to rename would replace it."""
    try:
        os.link(beside, target)
    except FileExistsError:
        raise
    except OSError:  # not every filesystem has links: there an empty file takes the name first
        target.open("xb").close()
        os.replace(beside, target)


def _receive(reply: httpx.Response, to: IO[bytes], *, quiet: bool) -> int:
    """How many bytes came. ``Failure`` if they are fewer than were announced: the stored copy may be damaged."""
    announced = reply.headers.get("Content-Length", "")
    total = int(announced) if announced.isdecimal() else None
    done = 0
    with _bar(quiet) as bar:
        task = bar.add_task("", total=total)
        for block in reply.iter_raw():
            to.write(block)
            done += len(block)
            bar.update(task, completed=done)
    if total is not None and done != total:
        raise Failure(Code.UNREACHABLE, f"It ended after {done} of {total} bytes; nothing was kept.")
    to.flush()
    return done


def _bar(quiet: bool) -> Progress:
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    to = console(to_stderr=True)
    return Progress(*columns, console=to, transient=True, disable=quiet or not to.is_terminal)
