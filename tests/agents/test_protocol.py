from __future__ import annotations

import json
from typing import Any

import pytest

from agents.protocol import (
    MAX_BODY_BYTES,
    GpuProcess,
    MalformedReply,
    Reading,
    encode,
    parse_reply,
    sane_interval,
)


def reading(**changes: Any) -> Reading:
    values: dict[str, Any] = {
        "instance_id": "vast_1",
        "gpu_utilization": None,
        "timestamp": "2025-01-01T00:00:00Z",
        "gpu_count": 1,
        "gpu_names": ("GPU",),
        "gpu_utilizations": (None,),
        "gpu_memory_used": (None,),
        "gpu_memory_total": (1000.0,),
        "processes": (),
        "cpu_percent": None,
        "disk_read_bps": None,
        "disk_write_bps": None,
        "net_rx_bps": None,
        "net_tx_bps": None,
        "ssh_sessions": None,
        "workspace_used_bytes": None,
        "workspace_free_bytes": None,
        "boot_id": "boot",
        "seq": 1,
        "interval_seconds": 30,
        "samples": 30,
    }
    return Reading(**{**values, **changes})


def reply(**changes: Any) -> bytes:
    values = {
        "received": True,
        "instance_id": "vast_1",
        "status": "running",
        "action": "none",
        "interval": 30,
    }
    return json.dumps({**values, **changes}).encode()


def test_unknown_stays_null_on_the_wire() -> None:
    payload = json.loads(encode(reading().to_json()))
    assert payload["gpu_utilization"] is None
    assert payload["gpu_utilizations"] == [None]
    assert payload["protocol_version"] == 1


def test_the_worst_reading_fits_and_keeps_what_the_decision_needs() -> None:
    processes = tuple(GpuProcess(4_000_000 + i, 7, "🔥" * 64, 123456.7) for i in range(256))
    jobs = tuple({"phase": "é" * 2000} for _ in range(4))
    worst = reading(gpu_utilizations=(55.5,) * 64, processes=processes, jobs=jobs, errors=("€" * 200,) * 10)
    payload = worst.to_json()
    assert len(encode(payload)) <= MAX_BODY_BYTES
    assert payload["gpu_utilizations"] == [55.5] * 64


def test_an_ordinary_full_box_loses_nothing() -> None:
    processes = tuple(GpuProcess(i, 7, "python3", 1.0) for i in range(256))
    assert len(reading(processes=processes).to_json()["processes"]) == 256


def test_a_reply_is_read() -> None:
    answer = parse_reply(reply(action="prepare_hibernate", interval=10), "vast_1")
    assert (answer.status, answer.action, answer.interval) == ("running", "prepare_hibernate", 10)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>login</html>",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"[" * 100_000,
        reply(received="true"),
        reply(instance_id="vast_2"),
    ],
)
def test_what_is_not_a_reply_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedReply):
        parse_reply(body, "vast_1")


@pytest.mark.parametrize("action", ["explode", 7, None, ["stop"], {}])
def test_an_unknown_action_does_nothing(action: object) -> None:
    assert parse_reply(reply(action=action), "vast_1").action == "none"


@pytest.mark.parametrize("interval", [0, -1, 3601, True, "30", None, float("nan"), float("inf"), []])
def test_an_interval_that_makes_no_sense_is_not_adopted(interval: object) -> None:
    assert sane_interval(interval) is None


@pytest.mark.parametrize("interval", [1, 30, 2.5, 3600])
def test_a_sane_interval_is_adopted(interval: float) -> None:
    assert sane_interval(interval) == interval
