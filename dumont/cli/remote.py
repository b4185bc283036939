"""``ssh``: into the machine that has the workspace now, known by the host key that Dumont saw when it was rented."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from . import waiting
from .arguments import AsJson, Instance, WaitAtMost
from .exits import Code, Failure
from .orders import order
from .output import complain, print_json
from .session import Session, session_of, status_of

# What a server says becomes part of a command line and of a file: nothing that could be an option or a second line.
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,254}")
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
_KEY = re.compile(r"(ssh-|ecdsa-|sk-)[A-Za-z0-9@.-]{1,60} [A-Za-z0-9+/=]{16,2000}")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_AWAKE = ("running", "idle")
_COMING = ("wake", "adopt")


def ssh(
    ctx: typer.Context,
    instance: Instance,
    command: Annotated[
        list[str] | None, typer.Argument(metavar="[-- COMMAND]...", help="Run this and nothing more.")
    ] = None,
    wake: Annotated[bool, typer.Option("--wake", help="Wake it if it sleeps.")] = False,
    wait_at_most: WaitAtMost = None,
    as_json: AsJson = False,
) -> None:
    """Log in to the machine, once it is awake.

    Waits for a wake that is under way. The exit code is ssh's.
    """
    session = session_of(ctx)
    row = _awake(session, instance, wake, wait_at_most)
    argv = _command_line(instance, row["machine"] or {}, command or [])
    if as_json:
        print_json({name: row["machine"][name] for name in ("ssh_host", "ssh_port", "ssh_user", "host_key")})
        return
    if shutil.which("ssh") is None:
        raise Failure(Code.USAGE, "There is no ssh on this machine: install an OpenSSH client.")
    run(argv)


def run(argv: list[str]) -> None:
    """This process becomes ssh."""
    os.execvp(argv[0], argv)  # noqa: S606


def _awake(session: Session, instance: str, wake: bool, at_most: float | None) -> dict[str, Any]:
    row = status_of(session, instance)
    running = row["operation"]
    coming = running if running and running["kind"] in _COMING else None
    if row["status"] in _AWAKE and coming is None:
        return row
    if coming is None and not wake:
        raise Failure(
            Code.CONFLICT, f"{instance} is {row['status']}: wake it with dumont ssh {instance} --wake"
        )
    if coming is None:
        coming = order(session.client, instance, "wake")
    complain(f"{instance} is being woken.")
    waiting.check(waiting.follow(session.client, coming, at_most, quiet=True))
    return status_of(session, instance)


def _command_line(instance: str, machine: dict[str, Any], command: list[str]) -> list[str]:
    host, user = str(machine.get("ssh_host") or ""), str(machine.get("ssh_user") or "root")
    port, key = machine.get("ssh_port"), str(machine.get("host_key") or "")
    if not _HOST.fullmatch(host) or not _USER.fullmatch(user) or not _is_port(port):
        raise Failure(Code.CONFLICT, f"{instance} has no machine with an address that ssh could take.")
    known = _known(instance, key) if _KEY.fullmatch(key) and _ID.fullmatch(instance) else []
    return ["ssh", "-p", str(port), "-l", user, *known, "--", host, *command]


def _is_port(port: Any) -> bool:
    return isinstance(port, int) and 0 < port < 65536


def _known(instance: str, key: str) -> list[str]:
    """Each wake brings another machine with another key. The one that Dumont knows is asked for, and no other taken."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    file = Path(home) / "dumont" / "known_hosts" / instance
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = file.with_name(f".{instance}.{os.getpid()}")
    beside.write_text(f"dumont-{instance} {key}\n", encoding="ascii")
    os.replace(beside, file)
    options = (
        f"HostKeyAlias=dumont-{instance}",
        f'UserKnownHostsFile="{file}"',
        "StrictHostKeyChecking=yes",
        "UpdateHostKeys=no",
    )
    return [word for option in options for word in ("-o", option)]
