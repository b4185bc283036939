"""The SSH server of a local machine: commands and files, for the keys in a file. Knows nothing of rentals."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from asyncio.subprocess import Process
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import asyncssh

_CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True)
class SshServer:
    """``alive`` is a file: when it goes, the machine's folder was removed behind our back, and the server ends.

    ``authorized_keys`` is read at each login. ``banner`` is shown before each; the first ``refused_logins`` fail.
    """

    host_key: Path
    authorized_keys: Path
    env: Mapping[str, str]
    alive: Path
    ready: Path
    banner: str = ""
    refused_logins: int = 0

    async def serve(self, bound: socket.socket, delay: float) -> None:
        """Opens the port after ``delay`` seconds, then makes ``ready``. Returns only when the machine is gone."""
        await asyncio.sleep(delay)
        to_refuse = iter(range(self.refused_logins))
        async with asyncssh.listen(
            sock=bound,
            server_factory=lambda: _Door(self, to_refuse),
            server_host_keys=[str(self.host_key)],
            process_factory=self._run,
            sftp_factory=True,
            allow_scp=True,
            encoding=None,
            line_editor=False,
            agent_forwarding=False,
        ):
            self.ready.touch()
            while self.alive.exists():
                await asyncio.sleep(1)

    async def _run(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        command = ["-c", process.command] if process.command else []
        child = await asyncio.create_subprocess_exec(
            "/bin/sh",
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**self.env, **process.env},
            cwd=self.env["HOME"],
            start_new_session=True,
        )
        stdin, stdout, stderr = _pipes(child)
        feed = asyncio.create_task(_feed(process.stdin, stdin))
        answer = asyncio.create_task(_answer(stdout, stderr, process))
        gone = asyncio.create_task(process.wait_closed())
        await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
        if gone.done():
            _hang_up(child.pid)
        else:
            _exit(process, await child.wait())
        for task in (feed, answer, gone):
            task.cancel()
        await asyncio.gather(feed, answer, gone, return_exceptions=True)


class _Door(asyncssh.SSHServer):
    """Says at each login who may come in, so that a key attached later opens at once."""

    def __init__(self, server: SshServer, to_refuse: Iterator[int]) -> None:
        self._server, self._to_refuse = server, to_refuse

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn

    def begin_auth(self, username: str) -> bool:
        if self._server.banner:
            self._connection.send_auth_banner(self._server.banner)
        keys = self._server.authorized_keys
        if next(self._to_refuse, None) is None and keys.read_text().strip():
            self._connection.set_authorized_keys(str(keys))
        return True


def _exit(process: asyncssh.SSHServerProcess[bytes], code: int) -> None:
    if code >= 0:
        process.exit(code)
    else:
        process.exit_with_signal(signal.Signals(-code).name.removeprefix("SIG"))


def _hang_up(group: int) -> None:
    """What the session ran ends with it; what it detached with nohup or setsid stays."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGHUP)


def _pipes(child: Process) -> tuple[asyncio.StreamWriter, asyncio.StreamReader, asyncio.StreamReader]:
    """All three are pipes, which the types do not know."""
    return cast(Any, (child.stdin, child.stdout, child.stderr))  # type: ignore[no-any-return]


async def _answer(
    stdout: asyncio.StreamReader, stderr: asyncio.StreamReader, process: asyncssh.SSHServerProcess[bytes]
) -> None:
    """As with any SSH server, a session lasts until nothing holds its command's output open any more."""
    await asyncio.gather(_copy(stdout, process.stdout), _copy(stderr, process.stderr))


async def _copy(source: asyncio.StreamReader, target: asyncssh.SSHWriter[bytes]) -> None:
    with suppress(OSError, asyncssh.Error):
        while data := await source.read(_CHUNK):
            target.write(data)
            await target.drain()


async def _feed(source: asyncssh.SSHReader[bytes], target: asyncio.StreamWriter) -> None:
    with suppress(OSError, asyncssh.Error):
        while data := await source.read(_CHUNK):
            target.write(data)
            await target.drain()
    target.close()
