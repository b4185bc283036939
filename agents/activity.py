"""What the box does besides its GPUs, read from ``/proc``: processor, disks, network, SSH sessions, workspace."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

_T = TypeVar("_T")
SECTOR_BYTES = 512  # /proc/diskstats counts in these, whatever the disk's own sector is.
ESTABLISHED = "01"
# What they move is counted again at the real disk or network card below them.
STACKED_DISKS = ("loop", "ram", "zram", "dm-", "md", "sr", "fd")
STACKED_NETS = ("lo", "docker", "br-", "veth", "ifb")


@dataclass(frozen=True, slots=True)
class Activity:
    """Averages since the reading before; bytes per second, percent 0–100 of all processors. None: unknown."""

    cpu_percent: float | None
    disk_read_bps: float | None
    disk_write_bps: float | None
    net_rx_bps: float | None
    net_tx_bps: float | None
    ssh_sessions: int | None
    workspace_used_bytes: int | None
    workspace_free_bytes: int | None


@dataclass(frozen=True, slots=True)
class _Counters:
    at: float
    cpu: tuple[int, int] | None
    disk: tuple[int, int] | None
    net: tuple[int, int] | None


class ActivityMeter:
    """Remembers the counters of the last reading. ``take`` never raises: what cannot be read is None."""

    def __init__(
        self,
        workspace: Path | None = None,
        proc: Path = Path("/proc"),
        sys_block: Path = Path("/sys/block"),
        clock: Callable[[], float] = time.monotonic,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._workspace = workspace
        self._proc = proc
        self._sys_block = sys_block
        self._clock = clock
        self._ssh_port = ssh_port(environment)
        self._before = self._count()

    def take(self) -> Activity:
        before, now = self._before, self._count()
        self._before = now
        elapsed = now.at - before.at
        disk_read, disk_write = _rates(before.disk, now.disk, elapsed)
        net_rx, net_tx = _rates(before.net, now.net, elapsed)
        used, free = self._workspace_bytes()
        return Activity(
            cpu_percent=_busy_percent(before.cpu, now.cpu),
            disk_read_bps=disk_read,
            disk_write_bps=disk_write,
            net_rx_bps=net_rx,
            net_tx_bps=net_tx,
            ssh_sessions=self._ssh_sessions(),
            workspace_used_bytes=used,
            workspace_free_bytes=free,
        )

    def _count(self) -> _Counters:
        return _Counters(self._clock(), _or_none(self._cpu), _or_none(self._disk), _or_none(self._net))

    def _cpu(self) -> tuple[int, int]:
        """Busy and total ticks. Guest time is part of user time already; waiting for a disk is idle."""
        line = (self._proc / "stat").read_text().split("\n", 1)[0].split()
        user, nice, system, idle, iowait, irq, softirq, steal = (int(field) for field in line[1:9])
        busy = user + nice + system + irq + softirq + steal
        return busy, busy + idle + iowait

    def _disk(self) -> tuple[int, int]:
        """Bytes read and written by whole disks: partitions would count twice."""
        disks = {d for d in os.listdir(self._sys_block) if not d.startswith(STACKED_DISKS)}
        rows = [line.split() for line in (self._proc / "diskstats").read_text().splitlines()]
        ours = [row for row in rows if row[2] in disks]
        if not ours:
            raise ValueError("no disk")
        return sum(int(row[5]) for row in ours) * SECTOR_BYTES, sum(
            int(row[9]) for row in ours
        ) * SECTOR_BYTES

    def _net(self) -> tuple[int, int]:
        """Bytes received and sent by the network cards."""
        lines = (self._proc / "net/dev").read_text().splitlines()[2:]
        rows = [(name.strip(), fields.split()) for name, _, fields in (line.partition(":") for line in lines)]
        ours = [fields for name, fields in rows if not name.startswith(STACKED_NETS)]
        if not ours:
            raise ValueError("no network card")
        return sum(int(row[0]) for row in ours), sum(int(row[8]) for row in ours)

    def _ssh_sessions(self) -> int | None:
        counts = [_or_none(partial(self._established, table)) for table in ("tcp", "tcp6")]
        known = [count for count in counts if count is not None]
        return sum(known) if known else None

    def _established(self, table: str) -> int:
        rows = [line.split() for line in (self._proc / "net" / table).read_text().splitlines()[1:]]
        return sum(
            row[3] == ESTABLISHED and int(row[1].rpartition(":")[2], 16) == self._ssh_port for row in rows
        )

    def _workspace_bytes(self) -> tuple[int | None, int | None]:
        if self._workspace is None:
            return None, None
        try:
            volume = os.statvfs(self._workspace)
        except OSError:
            return None, None
        return (volume.f_blocks - volume.f_bfree) * volume.f_frsize, volume.f_bavail * volume.f_frsize


def ssh_port(environment: Mapping[str, str]) -> int:
    """The port of the SSH server of this box: the one this agent was started through, else 22."""
    port = environment.get("SSH_CONNECTION", "").split()[3:4]
    return int(port[0]) if port and port[0].isdecimal() else 22


def _or_none(read: Callable[[], _T]) -> _T | None:
    """What ``read`` gives, None where the kernel, a container or an old version does not show it."""
    try:
        return read()
    except (OSError, ValueError, IndexError):
        return None


def _rates(
    before: tuple[int, int] | None, now: tuple[int, int] | None, elapsed: float
) -> tuple[float | None, float | None]:
    """Units per second; unknown when a counter went back, as after a device was removed."""
    if before is None or now is None or elapsed <= 0 or now[0] < before[0] or now[1] < before[1]:
        return None, None
    return round((now[0] - before[0]) / elapsed, 1), round((now[1] - before[1]) / elapsed, 1)


def _busy_percent(before: tuple[int, int] | None, now: tuple[int, int] | None) -> float | None:
    if before is None or now is None or now[1] <= before[1] or now[0] < before[0]:
        return None
    return round(min(100.0, 100.0 * (now[0] - before[0]) / (now[1] - before[1])), 1)
