"""The guard's end of the socket. Holding it is being the guard of this agent home: there is no second."""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from agents.contact import address
from agents.identity import AlreadyRunning

_CREDENTIALS = struct.Struct("3i")
_MAX_BYTES = 16 * 1024


class Inbox:
    """Messages of this user and of root only: the name of the socket is there for everybody to see."""

    def __init__(self, state_dir: Path, patience: float = 5.0) -> None:
        """``AlreadyRunning`` if another guard does not make room within ``patience`` seconds."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        deadline = time.monotonic() + patience
        while True:
            try:
                self._socket.bind(address(state_dir))
                return
            except OSError:
                if time.monotonic() >= deadline:
                    self._socket.close()
                    raise AlreadyRunning("another guard runs here") from None
                time.sleep(0.05)

    def __enter__(self) -> Inbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def receive(self, seconds: float) -> dict[str, Any] | None:
        """The next message within that time; None if there is none, or one that is not ours."""
        self._socket.settimeout(max(seconds, 0.001))
        try:
            data, ancillary, _, _ = self._socket.recvmsg(
                _MAX_BYTES, socket.CMSG_SPACE(_CREDENTIALS.size)
            )  # fmt: skip
        except TimeoutError:
            return None
        return _message(data) if _is_ours(ancillary) else None


def _is_ours(ancillary: list[tuple[int, int, bytes]]) -> bool:
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS) and len(data) >= _CREDENTIALS.size:
            _, user, _ = _CREDENTIALS.unpack_from(data)
            return user in (0, os.getuid())
    return False


def _message(data: bytes) -> dict[str, Any] | None:
    try:
        message = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) else None
