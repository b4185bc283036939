"""``python -m benchmarks.wakes.boxes PORT``: one SSH server that answers for every machine, and beats for each.

SSH, files and heartbeats are real, so the control plane pays for them; what would run on a machine is answered at once:
its GPU works, a restore is done as soon as it is started.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import sys
import tempfile
import urllib.request
from datetime import UTC, datetime
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import asyncssh

from agents.protocol import STATUS_PATH

BEAT_SECONDS = 30.0
_HOME = "/root"
_GPU = {"name": "", "memory_mib": 24_564}  # whichever 24 GB card was ordered
_TESTED = {"gpus": [_GPU], "driver": "550.127.05", "cuda": "12.4", "compute": ""}
_THAWED = {"files": 0, "bytes": 0}


class Boxes:
    """All the machines. A connection has a home of its own: nobody asks for what an earlier one has put there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = count(1)
        self._beats: set[asyncio.Task[None]] = set()

    async def serve(self, port: int) -> None:
        async with asyncssh.listen(
            "127.0.0.1",
            port,
            server_factory=_Door,
            server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
            process_factory=self._run,
            sftp_factory=lambda channel: asyncssh.SFTPServer(
                channel, chroot=os.fsencode(self._home(channel))
            ),
            encoding=None,
            line_editor=False,
        ):
            await asyncio.Event().wait()

    def _home(self, channel: Any) -> Path:
        connection = channel.get_connection()
        home = connection.get_extra_info("home")
        if home is None:
            home = self._folder / str(next(self._numbers))
            (home / ".dumont").mkdir(parents=True)
            connection.set_extra_info(home=home)
        return Path(home)

    async def _run(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        home = self._home(process.channel)
        try:
            answer = self._answer(process.command or "", home)
        except (ValueError, LookupError, OSError) as error:
            print(f"{process.command}: {error!r}", file=sys.stderr, flush=True)
            process.exit(1)
            return
        process.stdout.write(answer.encode())
        process.exit(0)

    def _answer(self, command: str, home: Path) -> str:
        """Of the few commands that a wake sends."""
        if command == "true" or "sha256sum" in command:
            return ""
        if command.startswith("for python in"):
            return "/usr/bin/python3\n"
        if command.endswith("selftest"):
            return json.dumps(_TESTED)
        if "mkdir -p ~/.dumont/jobs/" in command:
            (home / ".dumont" / "jobs" / command.rpartition("/")[2]).mkdir(parents=True)
            return ""
        if " job start " in command or " job status " in command:
            job = command.partition("--dir ")[2].split()[0].rpartition("/")[2]
            return json.dumps({"job": job, "kind": "thaw", "state": "done", "result": _THAWED})
        options = json.loads(shlex.split(command)[-1])["command"]
        self._start_monitor(options, (home / ".dumont" / "token").read_text())
        return ""

    def _start_monitor(self, options: list[str], token: str) -> None:
        named = dict(pairwise(options))
        beat = asyncio.create_task(_beat(named["--instance-id"], named["--control-url"], token))
        self._beats.add(beat)
        beat.add_done_callback(self._beats.discard)


class _Door(asyncssh.SSHServer):
    """Whoever has a key may come in, after proving that he has it."""

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return True


async def _beat(instance: str, url: str, token: str) -> None:
    """A machine at work, so that nobody thinks of hibernating it."""
    for number in count(1):
        reading = {
            "instance_id": instance,
            "seq": number,
            "timestamp": datetime.now(UTC).isoformat(),
            "boot_id": "1",
            "gpu_utilization": 90.0,
            "gpu_count": 1,
            "gpu_utilizations": [90.0],
        }
        await asyncio.to_thread(_post, url + STATUS_PATH, token, json.dumps(reading).encode())
        await asyncio.sleep(BEAT_SECONDS)


def _post(url: str, token: str, body: bytes) -> None:
    headers = {"Authorization": f"Bearer {token.strip()}", "Content-Type": "application/json"}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, body, headers), timeout=30) as reply:  # noqa: S310
            reply.read()
    except OSError as error:
        print(f"heartbeat: {error}", file=sys.stderr, flush=True)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="dumont-boxes-") as folder:
        asyncio.run(Boxes(Path(folder)).serve(int(sys.argv[1])))


if __name__ == "__main__":
    main()
