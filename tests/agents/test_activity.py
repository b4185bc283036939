from __future__ import annotations

from pathlib import Path

import pytest

from agents.activity import ActivityMeter, ssh_port

TCP = "  sl  local_address rem_address   st tx_queue\n"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Box:
    """A ``/proc`` and a ``/sys/block`` made of files."""

    def __init__(self, root: Path) -> None:
        self.proc, self.sys_block, self.clock = root / "proc", root / "block", Clock()
        (self.proc / "net").mkdir(parents=True)
        for disk in ("vda", "loop0", "dm-0"):
            (self.sys_block / disk).mkdir(parents=True)
        self.write()

    def write(
        self, busy: int = 0, idle: int = 0, sectors: int = 0, received: int = 0, tcp: str = TCP
    ) -> None:
        (self.proc / "stat").write_text(f"cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\ncpu0 1 1 1 1\n")
        disk = f"1 0 {sectors} 0 1 0 {2 * sectors} 0 0 0 0"
        names = ("vda", "vda1", "loop0", "dm-0")
        (self.proc / "diskstats").write_text("".join(f" 7 0 {name} {disk}\n" for name in names))
        card = f"{received} 0 0 0 0 0 0 0 {3 * received} 0 0 0 0 0 0 0"
        cards = "".join(f"  {name}: {card}\n" for name in ("lo", "eth0", "docker0"))
        (self.proc / "net" / "dev").write_text(f"Inter-|\n face |\n{cards}")
        (self.proc / "net" / "tcp").write_text(tcp)

    def meter(self, workspace: Path | None = None) -> ActivityMeter:
        return ActivityMeter(workspace, self.proc, self.sys_block, self.clock, {})


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def test_rates_are_averages_since_the_reading_before(box: Box) -> None:
    meter = box.meter()
    box.clock.now = 10.0
    box.write(busy=25, idle=75, sectors=100, received=5000)
    activity = meter.take()
    assert activity.cpu_percent == 25.0
    assert (activity.disk_read_bps, activity.disk_write_bps) == (5120.0, 10240.0)
    assert (activity.net_rx_bps, activity.net_tx_bps) == (500.0, 1500.0)


def test_a_counter_that_goes_back_is_unknown(box: Box) -> None:
    box.write(busy=50, idle=50, sectors=100, received=5000)
    meter = box.meter()
    box.clock.now = 10.0
    box.write()
    activity = meter.take()
    assert (activity.cpu_percent, activity.disk_read_bps, activity.net_rx_bps) == (None, None, None)


def test_what_the_kernel_does_not_show_is_unknown(tmp_path: Path) -> None:
    activity = ActivityMeter(tmp_path / "gone", tmp_path / "proc", tmp_path / "block", environment={}).take()
    assert set(activity.__getstate__()) == {None}  # type: ignore[attr-defined]


def test_garbage_in_proc_is_unknown(box: Box) -> None:
    for name in ("stat", "diskstats", "net/dev", "net/tcp"):
        (box.proc / name).write_text("garbage\n\n1\n2 : 3\n")
    activity = box.meter().take()
    assert (activity.cpu_percent, activity.disk_read_bps, activity.ssh_sessions) == (None, None, None)


def test_no_disk_but_stacked_ones_is_unknown(box: Box) -> None:
    (box.sys_block / "vda").rmdir()
    box.clock.now = 1.0
    assert box.meter().take().disk_read_bps is None


def test_established_connections_to_the_ssh_port_are_sessions(box: Box) -> None:
    listening = "   0: 00000000:0016 00000000:0000 0A 0\n"
    session = "   1: 0100007F:0016 0100007F:D431 01 0\n"
    outgoing = "   2: 0100007F:D431 0100007F:0016 01 0\n"
    box.write(tcp=TCP + listening + session + session + outgoing)
    (box.proc / "net" / "tcp6").write_text(TCP + "   0: 00000000000000000000000001000000:0016 0:1 01 0\n")
    assert box.meter().take().ssh_sessions == 3


def test_the_ssh_port_is_the_one_the_agent_was_started_through() -> None:
    assert ssh_port({"SSH_CONNECTION": "10.0.0.1 5000 10.0.0.2 2222"}) == 2222
    assert ssh_port({"SSH_CONNECTION": "nonsense"}) == 22
    assert ssh_port({}) == 22


def test_the_space_of_the_workspace_is_told(box: Box, tmp_path: Path) -> None:
    activity = box.meter(workspace=tmp_path).take()
    assert activity.workspace_free_bytes is not None
    assert activity.workspace_used_bytes is not None


def test_this_box_can_be_read() -> None:
    activity = ActivityMeter().take()
    assert activity.ssh_sessions is not None
