"""``POST /api/agent/status``: the agents' one busy door. Plain Django and msgspec; bounded, strict, committed."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from msgspec import Meta, Struct

from agents.protocol import (
    MAX_BODY_BYTES,
    MAX_FACT_CHARS,
    MAX_GPUS,
    MAX_PROCESSES,
    GuardFact,
    GuardOutcome,
)
from hibernation.api.authentication import agent_token
from hibernation.api.bodies import read_body
from hibernation.api.errors import error_response, only, plain_error
from hibernation.api.permissions import needs
from hibernation.api.places import HEARTBEATS
from hibernation.domain.access import Need
from hibernation.domain.errors import DumontError
from hibernation.domain.heartbeats import Beat
from hibernation.services.heartbeats import Answer, Heartbeat, receive_heartbeat

Percent = Annotated[float, Meta(ge=0, le=100)]
Amount = Annotated[float, Meta(ge=0, le=1e15)]
ShortText = Annotated[str, Meta(max_length=200)]


class GuardFactBody(Struct, frozen=True):
    """What a machine's guard did while it had no contact: ``agents.protocol.GuardFact``."""

    id: Annotated[str, Meta(min_length=1, max_length=64)]
    outcome: GuardOutcome
    at: Annotated[str, Meta(max_length=32)]
    silent_seconds: Annotated[int, Meta(ge=0, le=2**40)]
    reason: Annotated[str, Meta(max_length=MAX_FACT_CHARS)]


class HeartbeatBody(Struct, frozen=True):
    """The wire form of a reading: ``agents.protocol.Reading``. Unknown fields are ignored, known ones are checked."""

    instance_id: Annotated[str, Meta(min_length=1, max_length=64)]
    seq: Annotated[int, Meta(ge=1, le=2**62)]
    timestamp: datetime
    gpu_utilization: Percent | None = None
    gpu_count: Annotated[int, Meta(ge=0, le=MAX_GPUS)] = 0
    gpu_names: Annotated[list[ShortText], Meta(max_length=MAX_GPUS)] = []
    gpu_utilizations: Annotated[list[Percent | None], Meta(max_length=MAX_GPUS)] = []
    gpu_memory_used: Annotated[list[Amount | None], Meta(max_length=MAX_GPUS)] = []
    gpu_memory_total: Annotated[list[Amount | None], Meta(max_length=MAX_GPUS)] = []
    processes: Annotated[list[dict[str, Any]], Meta(max_length=MAX_PROCESSES)] = []
    cpu_percent: Percent | None = None
    disk_read_bps: Amount | None = None
    disk_write_bps: Amount | None = None
    net_rx_bps: Amount | None = None
    net_tx_bps: Amount | None = None
    ssh_sessions: Annotated[int, Meta(ge=0, le=10**6)] | None = None
    workspace_used_bytes: Amount | None = None
    workspace_free_bytes: Amount | None = None
    boot_id: Annotated[str, Meta(max_length=100)] = ""
    agent_version: Annotated[str, Meta(max_length=64)] = ""
    samples: Annotated[int, Meta(ge=0, le=10**6)] = 0
    errors: Annotated[list[ShortText], Meta(max_length=10)] = []
    spooled: bool = False
    jobs: Annotated[list[dict[str, Any]], Meta(max_length=4)] = []
    guard: GuardFactBody | None = None


# Whoever reads the row later, deep in a stack of its own, must be able to decode it.
MAX_DEPTH = 16

_decoder = msgspec.json.Decoder(HeartbeatBody)


@needs(POST=Need.AGENT)
@csrf_exempt
@only("POST")
def agent_status(request: HttpRequest) -> JsonResponse:
    """Receive one heartbeat. The answer means that it is committed."""
    token = agent_token(request)
    if token is None:
        return plain_error(401, "not_authenticated", "Send the machine's own agent token as a bearer token.")
    raw = read_body(request, MAX_BODY_BYTES, HEARTBEATS, token.machine_id)
    if isinstance(raw, JsonResponse):
        return raw
    try:
        heartbeat = parse(raw)
        answer = receive_heartbeat(token, heartbeat)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        return plain_error(400, "invalid", f"This is not a heartbeat: {error}")
    except DumontError as error:
        return error_response(error)
    return JsonResponse(_reply(answer))


def _reply(answer: Answer) -> dict[str, Any]:
    reply: dict[str, Any] = {
        "received": True,
        "instance_id": answer.instance_id,
        "status": answer.status,
        "action": answer.action,
        "interval": answer.interval_seconds,
    }
    if answer.guard is not None:
        reply["guard"] = asdict(answer.guard)
    if answer.guard_noted:
        reply["guard_noted"] = answer.guard_noted
    return reply


def parse(raw: bytes) -> Heartbeat:
    """A heartbeat from its bytes; ``ValueError`` (msgspec's included) for anything else. NUL bytes are refused."""
    wire = _decoder.decode(raw)
    if b"\\u0000" in raw:
        raise ValueError("a text holds a NUL byte")
    if _depth([*wire.processes, *wire.jobs]) > MAX_DEPTH:
        raise ValueError("it is nested too deeply")
    taken_at = wire.timestamp if wire.timestamp.tzinfo else wire.timestamp.replace(tzinfo=UTC)
    utilizations: list[float | None] = list(wire.gpu_utilizations)
    if not utilizations and wire.gpu_utilization is not None:
        utilizations = [wire.gpu_utilization]
    if wire.gpu_count > len(utilizations):
        utilizations += [None] * (wire.gpu_count - len(utilizations))
    reading = msgspec.to_builtins(wire)
    del reading["instance_id"], reading["guard"]
    return Heartbeat(
        instance_id=wire.instance_id,
        beat=Beat(wire.seq, tuple(utilizations), wire.spooled),
        taken_at=taken_at,
        boot_id=wire.boot_id,
        agent_version=wire.agent_version,
        reading=reading,
        guard=GuardFact(**msgspec.structs.asdict(wire.guard)) if wire.guard is not None else None,
    )


def _depth(level: list[Any]) -> int:
    """How deep these lists and objects are nested; 1 when there is none in them."""
    depth = 0
    while level:
        depth += 1
        level = [part for whole in level for part in _parts(whole)]
    return depth


def _parts(value: Any) -> list[Any]:
    inner = value.values() if isinstance(value, dict) else value
    return [part for part in inner if isinstance(part, list | dict)]
