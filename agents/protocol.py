"""The wire between agent and control plane: the reading the agent posts and the reply it gets.

The control plane imports this module too, so it needs nothing but the standard library and does no I/O.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any, TypeGuard

PROTOCOL_VERSION = 1
AGENT_VERSION = "0.1.0"
STATUS_PATH = "/api/agent/status"
MAX_BODY_BYTES = 64 * 1024 - 1
MAX_GPUS = 64
MAX_PROCESSES = 256
MAX_ERRORS = 10
MAX_ERROR_CHARS = 200
MAX_JOBS = 4
MAX_JOB_BYTES = 4 * 1024
MAX_FACT_CHARS = 300
MIN_INTERVAL_SECONDS = 1
MAX_INTERVAL_SECONDS = 3600
ACTIONS = frozenset({"none", "prepare_hibernate", "stop"})


class MalformedReply(ValueError):
    """What came back is not a reply of the control plane."""


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process holding GPU memory. ``gpu`` is the index, ``memory_mib`` None where the driver does not tell."""

    pid: int
    gpu: int
    name: str
    memory_mib: float | None


class GuardOutcome(str, Enum):  # noqa: UP042 - Python 3.10 has no StrEnum
    """``stopped``: the provider was told to stop this machine. ``unable``: it was time to, and it could not be done."""

    STOPPED = "stopped"
    UNABLE = "unable"


@dataclass(frozen=True, slots=True)
class GuardFact:
    """What the guard of this box did while the control plane was away.

    ``id``: the same fact has the same one, however often it is told. ``at``: the box's clock, for people only.
    ``reason``: a sentence of at most 300 characters. ``silent_seconds``: how long there had been no contact.
    """

    id: str
    outcome: GuardOutcome
    at: str
    silent_seconds: int
    reason: str


@dataclass(frozen=True, slots=True)
class GuardTerms:
    """When this box may stop itself: after so many seconds without contact in which it was idle throughout; 0: never.

    ``gpu_usage_threshold``: per cent, a GPU above it is busy. ``provider`` and ``contract_id``: what this rental is
    called, so that no box ever stops another.
    """

    after_seconds: float
    gpu_usage_threshold: float
    provider: str
    contract_id: str


@dataclass(frozen=True, slots=True)
class Reading:
    """One set of measurements over one heartbeat interval. ``None`` always means «unknown», never «nothing».

    - ``instance_id``: the instance this machine belongs to, e.g. ``vast_12345``.
    - ``gpu_utilization``: percent 0–100, the maximum over GPUs and over the interval. Known when every GPU is
      known; with an unknown GPU it is None, unless a known one is so busy that no threshold calls it idle.
    - ``timestamp``: the box's clock, UTC, ISO 8601 with ``Z``. For people only: it may be wrong.
    - ``gpu_count``, ``gpu_names``, ``gpu_utilizations`` (percent), ``gpu_memory_used`` and
      ``gpu_memory_total`` (MiB): per GPU, by index. 0 and empty when no GPU was ever seen.
    - ``processes``: those on the GPUs at the end of the interval, the largest first, at most 256.
    - ``cpu_percent``: 0–100 over all processors. ``disk_*_bps``, ``net_*_bps``: bytes per second, averaged over
      the interval, without loopback. ``ssh_sessions``: established connections to the SSH port.
    - ``workspace_used_bytes``, ``workspace_free_bytes``: of the file system below ``--workspace``.
    - ``boot_id``: changes with a reboot or another agent home. ``seq``: strictly increasing per agent home.
    - ``interval_seconds``: seconds between heartbeats in force. ``samples``: GPU samples that succeeded, one a
      second as a rule.
    - ``errors``: sentences for people, at most 10 of 200 characters.
    - ``spooled``: True when this reading is history, sent late.
    - ``jobs``: progress of running freeze and thaw jobs, at most 4 of 4 KiB.
    - ``guard``: a ``GuardFact`` that the server has not confirmed yet; sent until it does.
    """

    instance_id: str
    gpu_utilization: float | None
    timestamp: str
    gpu_count: int
    gpu_names: tuple[str, ...]
    gpu_utilizations: tuple[float | None, ...]
    gpu_memory_used: tuple[float | None, ...]
    gpu_memory_total: tuple[float | None, ...]
    processes: tuple[GpuProcess, ...]
    cpu_percent: float | None
    disk_read_bps: float | None
    disk_write_bps: float | None
    net_rx_bps: float | None
    net_tx_bps: float | None
    ssh_sessions: int | None
    workspace_used_bytes: int | None
    workspace_free_bytes: int | None
    boot_id: str
    seq: int
    interval_seconds: float
    samples: int
    errors: tuple[str, ...] = ()
    spooled: bool = False
    jobs: tuple[Mapping[str, Any], ...] = ()
    guard: GuardFact | None = None
    agent_version: str = AGENT_VERSION
    protocol_version: int = PROTOCOL_VERSION

    def to_json(self) -> dict[str, Any]:
        """The body of the heartbeat as plain JSON values, small enough for the server."""
        payload = json.loads(json.dumps(asdict(self), allow_nan=False))
        return _fit(payload)


def encode(payload: Mapping[str, Any]) -> bytes:
    """The bytes on the wire."""
    return json.dumps(payload, allow_nan=False, separators=(",", ":"), ensure_ascii=False).encode()


def _fit(payload: dict[str, Any]) -> dict[str, Any]:
    # What the idle decision rests on is small and stays; names of processes and job details are what can grow.
    thinner: tuple[dict[str, Any], ...] = (
        {},
        {"processes": payload["processes"][:32]},
        {"processes": [], "jobs": []},
    )
    for change in thinner:
        fitted = {**payload, **change}
        if len(encode(fitted)) <= MAX_BODY_BYTES:
            return fitted
    return {**fitted, "errors": [], "gpu_names": [name[:16] for name in payload["gpu_names"]]}


@dataclass(frozen=True, slots=True)
class Reply:
    """What the control plane answers. ``interval`` and ``guard`` are None when absent or not sane: keep the present.

    ``guard_noted``: the id of the ``GuardFact`` that it has written down; empty if none was sent.
    """

    status: str
    action: str
    interval: float | None
    guard: GuardTerms | None = None
    guard_noted: str = ""


def parse_reply(body: bytes, instance_id: str) -> Reply:
    """The reply in ``body``, or ``MalformedReply``. An unknown action counts as ``none``."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        raise MalformedReply("the answer is not JSON; is this the control plane's address?") from None
    if not isinstance(data, dict) or data.get("received") is not True:
        raise MalformedReply("the answer does not confirm the heartbeat")
    if data.get("instance_id", instance_id) != instance_id:
        raise MalformedReply("the answer is for another instance")
    action, status, noted = data.get("action"), data.get("status"), data.get("guard_noted")
    return Reply(
        status=status if isinstance(status, str) else "",
        action=action if isinstance(action, str) and action in ACTIONS else "none",
        interval=sane_interval(data.get("interval")),
        guard=guard_terms(data.get("guard")),
        guard_noted=noted if isinstance(noted, str) else "",
    )


def guard_terms(value: object) -> GuardTerms | None:
    """The terms in ``value`` as JSON has them, or None if they make no sense."""
    if not isinstance(value, dict):
        return None
    after, threshold = value.get("after_seconds"), value.get("gpu_usage_threshold")
    provider, contract = value.get("provider"), value.get("contract_id")
    if not _is_amount(after) or not _is_amount(threshold):
        return None
    if not isinstance(provider, str) or not isinstance(contract, str):
        return None
    return GuardTerms(float(after), float(threshold), provider, contract)


def _is_amount(value: object) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and value >= 0


def sane_interval(value: object) -> float | None:
    """``value`` if it is a number of seconds within 1–3600, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value if MIN_INTERVAL_SECONDS <= value <= MAX_INTERVAL_SECONDS else None
