"""Starts the monitor on a machine in place of an older one, detached, and tells whether it lives.

Runs on the machine: ``python3 - '{"home": …, "command": […]}'``; prints ``{"pid": …}`` or exits with the log's end.
The command is run in the folder ``home``; ``~`` is the user's.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time

SETTLE_SECONDS = 0.4
SETTLE_MOST_SECONDS = 5.0
_LOOK = 0.05
_CALM_LOOKS = 3
STOP_SECONDS = 5.0


def main(home: str, command: list[str]) -> None:
    home = os.path.expanduser(home)
    pid_file, log = os.path.join(home, "monitor.pid"), os.path.join(home, "monitor.log")
    with open(os.path.join(home, "monitor.starting"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stop(read_pid(pid_file))
        with open(log, "ab") as out:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=home, start_new_session=True
            )
        write_pid(pid_file, process.pid)
        settle(process)
    if process.poll() is not None:
        sys.exit(f"The monitor ended at once with {process.returncode}:\n{tail(log)}")
    print(json.dumps({"pid": process.pid}))


def settle(process: subprocess.Popen[bytes]) -> None:
    """Returns when it ended or sleeps between two readings: on a busy machine a failure takes its time."""
    began = time.monotonic()
    calm, passed = 0, 0.0
    while process.poll() is None and passed < SETTLE_MOST_SECONDS:
        if passed >= SETTLE_SECONDS and calm >= _CALM_LOOKS:
            return
        time.sleep(_LOOK)
        calm = calm + 1 if stat_of(process.pid)[0] == "S" else 0
        passed = time.monotonic() - began


def stop(known: tuple[int, int] | None) -> None:
    """Ends the process that the file names, if that is still the same: a pid is used again."""
    if known is None or start_time(known[0]) != known[1]:
        return
    for number, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
        try:
            os.kill(known[0], number)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if start_time(known[0]) != known[1]:
                return
            time.sleep(0.02)
    sys.exit(f"The older monitor, process {known[0]}, does not end.")


def start_time(pid: int) -> int | None:
    """In clock ticks since boot; None if the process is gone."""
    fields = stat_of(pid)
    return None if fields[0] in "ZX" else int(fields[19])


def stat_of(pid: int) -> list[str]:
    """What the kernel tells of a process, from its state on; state ``X`` if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return ["X"]


def read_pid(path: str) -> tuple[int, int] | None:
    try:
        with open(path) as file:
            pid, started = file.read().split()
        return int(pid), int(started)
    except (OSError, ValueError):
        return None


def write_pid(path: str, pid: int) -> None:
    with open(path + ".new", "w") as file:
        file.write(f"{pid} {start_time(pid) or 0}\n")
    os.replace(path + ".new", path)


def tail(path: str) -> str:
    with open(path, errors="replace") as file:
        return file.read()[-1000:]


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
