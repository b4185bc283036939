"""Reaches a machine over SSH: short commands and small files, never bulk. Nothing a machine answers is trusted."""

from __future__ import annotations

import base64
import binascii
import posixpath
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import fabric
import paramiko
from paramiko.pkey import UnknownKeyType

from hibernation.domain.errors import BoxError, BoxSilent, BoxUnreachable, HostKeyChanged, KeyRefused

MAX_OUTPUT = 1 << 20
CONNECT_SECONDS = 5.0
_AUTH_SECONDS = 10.0
_FILE_SECONDS = 60.0
_STDERR_TAIL = 2000


class Shell(Protocol):
    """What can be done on a machine. Each call raises ``BoxUnreachable`` if the machine does not answer in time:
    then the command may have run or not."""

    def run(self, command: str, *, timeout: float, input: str | None = None) -> str:
        """Runs a command with the user's shell and returns its output, at most ``MAX_OUTPUT`` bytes.

        ``timeout`` is in seconds. ``BoxError`` with the end of what it said if it exits other than with 0.
        """

    def put_bytes(self, data: bytes, remote_path: str, mode: int) -> None:
        """Replaces a file whole, ``~/`` being the home folder. The content is never there with a wider mode.

        The folder must exist. Repeatable. ``BoxError`` if the machine cannot store it.
        """

    def connected(self) -> AbstractContextManager[Shell]:
        """The same over one connection, closed at the end of the block."""


@dataclass(frozen=True, slots=True)
class Box:
    """A machine, and the only host key it may show: one OpenSSH public key line. Each call connects anew."""

    host: str
    port: int
    user: str
    host_key: str
    key_file: Path

    def run(self, command: str, *, timeout: float, input: str | None = None) -> str:
        with self.connected() as shell:
            return shell.run(command, timeout=timeout, input=input)

    def put_bytes(self, data: bytes, remote_path: str, mode: int) -> None:
        with self.connected() as shell:
            shell.put_bytes(data, remote_path, mode)

    @contextmanager
    def connected(self) -> Iterator[Shell]:
        """``HostKeyChanged`` before anything is sent, if the machine shows another key than the pinned one."""
        connection = self._connection()
        try:
            with _translated(f"{self.host}:{self.port}"):
                connection.open()
            yield _Connected(connection, f"{self.host}:{self.port}")
        finally:
            connection.close()

    def _connection(self) -> fabric.Connection:
        if not self.key_file.is_file():
            raise BoxError(f"The SSH key {self.key_file} does not exist.")
        pinned = parse_host_key(self.host_key)
        connection = fabric.Connection(
            self.host,
            user=self.user,
            port=self.port,
            # Lazy: no fabric.yml, no ~/.ssh/config. What this machine's user set up for himself is not ours.
            config=fabric.Config(lazy=True, overrides={"load_ssh_configs": False}),
            connect_timeout=CONNECT_SECONDS,
            forward_agent=False,
            connect_kwargs={
                "key_filename": str(self.key_file),
                "look_for_keys": False,
                "allow_agent": False,
                "banner_timeout": CONNECT_SECONDS,
                "auth_timeout": _AUTH_SECONDS,
            },
        )
        name = self.host if self.port == 22 else f"[{self.host}]:{self.port}"
        connection.client.get_host_keys().add(name, pinned.get_name(), pinned)
        connection.client.set_missing_host_key_policy(_RefuseOther())
        return connection


def scan_host_key(host: str, port: int) -> str:
    """The host key that a machine shows now, as one OpenSSH line, for a provider that does not tell it.

    The caller pins it: this is trust on first use, and only as good as that use.
    """
    with _translated(f"{host}:{port}"):
        transport = paramiko.Transport(socket.create_connection((host, port), CONNECT_SECONDS))
        try:
            transport.start_client(timeout=CONNECT_SECONDS)
            key = transport.get_remote_server_key()
        finally:
            transport.close()
    return f"{key.get_name()} {key.get_base64()}"


def parse_host_key(line: str) -> paramiko.PKey:
    """The key of an OpenSSH public key line. ``BoxError`` if it is none: no machine is ever reached without a pin."""
    try:
        kind, encoded = line.split()[:2]
        return paramiko.PKey.from_type_string(kind, base64.b64decode(encoded, validate=True))
    except (ValueError, binascii.Error, paramiko.SSHException, UnknownKeyType) as error:
        raise BoxError("There is no usable SSH host key to compare the machine's with.") from error


class _RefuseOther(paramiko.MissingHostKeyPolicy):
    """Asked when the machine shows a kind of key other than the pinned."""

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        raise HostKeyChanged


class _Connected:
    """A ``Shell`` over an open connection.

    Commands go through the connection's channels and not through ``fabric.Connection.run``, which puts the output
    together anew for each piece, without a limit, and feeds input one character each 10 ms.
    """

    def __init__(self, connection: fabric.Connection, name: str) -> None:
        self._connection = connection
        self._name = name

    def run(self, command: str, *, timeout: float, input: str | None = None) -> str:
        deadline = time.monotonic() + timeout
        with _translated(self._name), self._connection.transport.open_session(timeout=timeout) as channel:
            channel.settimeout(timeout)
            channel.exec_command(command)
            _feed(channel, input or "")
            output = _read_all(channel, deadline)
            code = _exit_code(channel, deadline)
            if code != 0:
                raise BoxError(f"Exit {code}: {_stderr_tail(channel) or _tail(output) or 'no output'}")
        return output.decode(errors="replace")

    def put_bytes(self, data: bytes, remote_path: str, mode: int) -> None:
        # SFTP starts in the home folder and knows no «~».
        path = remote_path.removeprefix("~/")
        fresh = posixpath.join(posixpath.dirname(path), f".{posixpath.basename(path)}.{secrets.token_hex(4)}")
        transport = self._connection.transport
        with _translated(self._name), transport.open_session(timeout=_FILE_SECONDS) as channel:
            channel.settimeout(_FILE_SECONDS)
            channel.invoke_subsystem("sftp")
            try:
                _replace_file(channel, data, path, fresh, mode)
            except OSError as error:
                if isinstance(error, TimeoutError) or not transport.is_active():
                    raise
                raise BoxError(f"{remote_path} cannot be written: {error}") from error

    @contextmanager
    def connected(self) -> Iterator[Shell]:
        yield self


def _feed(channel: paramiko.Channel, input: str) -> None:
    try:
        channel.sendall(input.encode())
        channel.shutdown_write()
    except OSError as error:
        # A command may end before it has read everything; how it ended says more.
        if isinstance(error, TimeoutError) or not channel.get_transport().is_active():
            raise


def _replace_file(channel: paramiko.Channel, data: bytes, path: str, fresh: str, mode: int) -> None:
    with paramiko.SFTPClient(channel) as sftp:
        with sftp.open(fresh, "wx") as file:
            sftp.chmod(fresh, mode)
            file.write(data)
        sftp.posix_rename(fresh, path)


def _read_all(channel: paramiko.Channel, deadline: float) -> bytes:
    output = bytearray()
    while True:
        channel.settimeout(max(deadline - time.monotonic(), 0.001))
        piece = channel.recv(65536)
        if not piece:
            return bytes(output)
        output += piece
        if len(output) > MAX_OUTPUT:
            raise BoxError(f"The machine answered more than {MAX_OUTPUT} bytes.")


def _exit_code(channel: paramiko.Channel, deadline: float) -> int:
    if not channel.status_event.wait(max(deadline - time.monotonic(), 0.001)):
        raise TimeoutError
    code = channel.recv_exit_status()
    if code == -1 and not channel.get_transport().is_active():
        raise EOFError
    return code


def _stderr_tail(channel: paramiko.Channel) -> str:
    tail = b""
    while channel.recv_stderr_ready() and (piece := channel.recv_stderr(65536)):
        tail = (tail + piece)[-_STDERR_TAIL:]  # the last lines of a traceback say why
    return _tail(tail)


def _tail(output: bytes) -> str:
    """Fit to be stored as text anywhere."""
    return output[-_STDERR_TAIL:].decode(errors="replace").replace("\0", "\ufffd").strip()


@contextmanager
def _translated(name: str) -> Iterator[None]:
    """The errors of the layers below, as ours."""
    try:
        yield
    except paramiko.BadHostKeyException as error:
        raise HostKeyChanged from error
    except paramiko.AuthenticationException as error:
        raise KeyRefused(f"{name} does not accept our key (yet).") from error
    except TimeoutError as error:
        raise BoxSilent(f"{name} does not answer in time.") from error
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise BoxUnreachable(f"{name} cannot be reached: {error or 'connection closed'}") from error
