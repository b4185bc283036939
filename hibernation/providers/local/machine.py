"""The process that is a rented machine of the local provider: ``python -m … <its folder>``.

It detaches, names itself in the registry, takes a root of its own where it may, and serves SSH until it is killed.
The keeper is the process in the registry; below it are process 1 of the namespace (if any) and the SSH server.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from hibernation.providers.local import namespaces
from hibernation.providers.local.files import read_json, write_json
from hibernation.providers.local.processes import (
    MARKER,
    adopt_orphans,
    die_with_parent,
    identify,
    kill_machine,
)
from hibernation.providers.local.records import Records

BOOT_FILE = "machine.json"
READY_FILE = "ready"
KEYS_FILE = "authorized_keys"


@dataclass(frozen=True, slots=True)
class Boot:
    """What the launcher tells the machine, in its folder. ``env`` is for every command run on it.

    ``onstart`` is a shell script that runs beside the SSH server at every start.
    """

    marker: str
    env: dict[str, str] = field(repr=False)
    namespaces: bool = True
    onstart: str = ""
    slow_boot_seconds: float = 0.0
    reachable: bool = True
    login_banner: str = ""
    refused_logins: int = 0


def write_boot(machine: Path, boot: Boot) -> None:
    write_json(machine / BOOT_FILE, asdict(boot))


def read_boot(machine: Path) -> Boot:
    """``FileNotFoundError`` where no machine is."""
    return Boot(**read_json(machine / BOOT_FILE, None) or _missing(machine))


def _missing(machine: Path) -> dict[str, str]:
    raise FileNotFoundError(machine / BOOT_FILE)


def main(machine: Path) -> None:
    boot = read_boot(machine)
    claimed_reader, claimed_writer = os.pipe()
    if os.fork():
        # The launcher waits for this process, and must find the keeper in the registry when it has ended.
        os.close(claimed_writer)
        os.read(claimed_reader, 1)
        os._exit(0)
    os.setsid()
    os.chdir(machine)
    bound = _bind_port()
    records = Records(machine.parent.parent / "provider")
    claimed = _claim(records, machine, bound)
    os.close(claimed_reader)
    os.close(claimed_writer)
    if claimed:
        _keep(records, machine, boot, bound)


def _bind_port() -> socket.socket:
    """A port of our own that refuses connections until the server listens."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.bind(("127.0.0.1", 0))
    return bound


def _claim(records: Records, machine: Path, bound: socket.socket) -> bool:
    """Puts us into the registry. False if the rental has ended before we came up."""
    ourselves = identify(os.getpid())
    return ourselves is not None and records.change(
        machine.name,
        pid=ourselves.pid,
        pid_started=ourselves.started,
        ssh_port=bound.getsockname()[1],
        stopped=False,
    )


def _keep(records: Records, machine: Path, boot: Boot, bound: socket.socket) -> None:
    visible = _visible(machine, boot)
    isolated = boot.namespaces and namespaces.are_allowed(machine, visible)
    workspace = Path("/workspace") if isolated else machine / "workspace"
    records.change(machine.name, workspace=str(workspace))

    def serve() -> None:
        _serve(machine, boot, bound, _environment(machine, boot, isolated))

    if isolated:
        namespaces.leave_host()
        os.waitpid(_fork(lambda: _first_process(machine, visible, serve)), 0)
    else:
        adopt_orphans()
        _wait_for(_fork(serve))
        kill_machine(None, boot.marker)


def _first_process(machine: Path, visible: Sequence[Path], serve: Callable[[], None]) -> None:
    """Process 1: when it ends, the kernel kills all others of the namespace."""
    namespaces.build_root(machine, visible)
    _wait_for(_fork(serve))


def _wait_for(server: int) -> None:
    """Buries every child that ends, until the server does."""
    while os.wait()[0] != server:
        pass


def _fork(run: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        try:
            die_with_parent()
            run()
        except Exception:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(1)
    return child


def _serve(machine: Path, boot: Boot, bound: socket.socket, env: dict[str, str]) -> None:
    ready = machine / READY_FILE
    if not boot.reachable:
        ready.touch()
        signal.pause()
    # Imported late: it takes most of the start, which nobody else has to wait for.
    from hibernation.providers.local.sshd import SshServer

    os.chdir(env["HOME"])
    if boot.onstart:
        subprocess.Popen(("/bin/sh", "-c", boot.onstart), env=env, stdin=subprocess.DEVNULL)
    server = SshServer(
        machine / "host_key",
        machine / KEYS_FILE,
        env,
        machine / BOOT_FILE,
        ready,
        boot.login_banner,
        boot.refused_logins,
    )
    asyncio.run(server.serve(bound, boot.slow_boot_seconds))


def _visible(machine: Path, boot: Boot) -> list[Path]:
    """What must keep its path in a root of its own: this machine's folder, Python, what the environment names.

    And the code of this process, which is imported until the server is up.
    """
    named = {part for value in boot.env.values() for part in value.split(":") if part.startswith("/")}
    code = Path(__file__).resolve().parents[3]
    folders = {machine, code, Path(sys.prefix), Path(sys.base_prefix)}
    folders |= {path for path in map(Path, named) if path.is_dir()}
    return sorted(folders)


def _environment(machine: Path, boot: Boot, isolated: bool) -> dict[str, str]:
    home, temporary = ("/root", "/tmp") if isolated else (str(machine / "home"), str(machine / "tmp"))  # noqa: S108
    return {
        "HOME": home,
        "USER": "root",
        "LOGNAME": "root",
        "SHELL": "/bin/sh",
        "LANG": "C.UTF-8",
        "TMPDIR": temporary,
        "PATH": f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        MARKER: boot.marker,
        **boot.env,
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
