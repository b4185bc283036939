"""Effects on the box, over SSH: the agent, freeze and thaw jobs, the fence and its release."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import msgspec
from django.conf import settings
from msgspec import Meta, Struct

from hibernation.box import jobs
from hibernation.box.fence import fence as fence_box
from hibernation.box.fence import resume_writers
from hibernation.box.install import install_agent, is_current
from hibernation.box.jobs import JobProgress
from hibernation.box.ssh import Box
from hibernation.domain import idle
from hibernation.domain.effects import FenceSeen, JobSeen, Ok, Reply, RunFreeze, RunThaw
from hibernation.domain.errors import BoxError
from hibernation.domain.idle import Activity
from hibernation.domain.ignore import rules_for
from hibernation.domain.states import SnapshotState
from hibernation.models import Instance, Machine, Operation, Snapshot
from hibernation.services.keys import keys_of
from hibernation.services.steps.context import Context
from hibernation.services.tokens import issue_agent_token

TOKEN_FILE = "~/.dumont/token"  # noqa: S105 - a path

Count = Annotated[int, Meta(ge=0, le=2**62)]
Hash = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class StoredObject(Struct, frozen=True):
    key: Annotated[str, Meta(max_length=255)]
    size: Count
    sha256: Hash
    id: Hash


class FreezeResult(Struct, frozen=True):
    """What a freeze must report to be believed at all; what it reports is proven afterwards."""

    manifest: StoredObject
    files: Count
    bytes_logical: Count
    bytes_stored_new: Count
    unreadable_total: Count = 0
    skipped_total: Count = 0
    skipped: list[Any] = []
    changed_while_read: list[Any] = []
    left_out: list[Any] = []
    left_out_files: Count = 0
    left_out_bytes: Count = 0
    to_fetch: list[Any] = []


def install(context: Context, *, resumed: bool = False) -> Reply:
    if resumed:
        with context.box().connected() as shell:
            resume_writers(shell)
    start_agent(context.box(), context.machine, context.instance)
    return Ok()


def start_agent(box: Box, machine: Machine, instance: Instance) -> None:
    """Put the agent on the box with a fresh token and start it. The token before it dies."""
    install_agent(
        box,
        instance_id=instance.pk,
        control_url=settings.DUMONT_BASE_URL,
        token=issue_agent_token(machine),
        interval=instance.heartbeat_interval.total_seconds(),
        workspace=machine.workspace,
    )


def put_to_work(box: Box, machine: Machine, instance: Instance) -> None:
    """As ``start_agent``, on a machine that nobody was told to pause any more: whoever is paused goes on."""
    start_agent(box, machine, instance)
    with box.connected() as shell:
        resume_writers(shell)


def quiesce(context: Context) -> Reply:
    """The box answers, its workspace is there, its agent is the one that this control plane speaks to, and no job runs.

    An operation that gave up while the box did not answer may have left one behind: two at once would share a state.
    """
    if not is_current(context.box(), context.machine.workspace):
        install(context)
    left = _left_behind(context)
    if left is not None:
        jobs.stop_job(context.box(), left.name)
    return Ok()


def _left_behind(context: Context) -> Snapshot | None:
    """Of this machine's snapshots only the latest can still be running: each start was preceded by this look."""
    latest = Operation.objects.filter(machine=context.machine, snapshot__isnull=False)
    last = latest.exclude(pk=context.operation.pk).select_related("snapshot").order_by("-id").first()
    over = (SnapshotState.FAILED, SnapshotState.DELETED)
    return last.snapshot if last and last.snapshot and last.snapshot.state in over else None


def run_freeze(context: Context, effect: RunFreeze) -> Reply:
    job, instance = context.snapshot.name, context.instance
    spec = _spec(context, "freeze", job) | {
        "parent": _parent(context),
        "background": effect.background,
        "yield_above": instance.policy.gpu_usage_threshold if effect.yields else None,
        "ignore": list(rules_for(default_rules=instance.default_ignore_rules, rules=instance.ignore_rules)),
        "leave_out_model_cache": instance.leave_out_model_cache,
    }
    return _run(context, job, spec, effect.again, _freeze_result)


def _parent(context: Context) -> str | None:
    """The snapshot that the box's state file must speak of to be built upon; any other is read in full."""
    parent = context.snapshot.parent
    return parent.name if parent is not None else None


def run_thaw(context: Context, effect: RunThaw) -> Reply:
    snapshot = context.snapshot
    job = f"thaw-{context.operation.pk}"
    manifest = {
        "key": snapshot.manifest_key,
        "size": snapshot.manifest_size,
        "sha256": snapshot.manifest_sha256,
        "id": snapshot.manifest_id,
    }
    expect = {"files": snapshot.files, "bytes": snapshot.bytes_logical}
    spec = _spec(context, "thaw", job) | {"manifest": manifest, "expect": expect}
    return _run(context, job, spec, effect.again, lambda result: result)


def _spec(context: Context, kind: str, job: str) -> dict[str, Any]:
    keys = keys_of(context.snapshot.key)
    return {
        "kind": kind,
        "job": job,
        "snapshot": context.snapshot.name,
        "workspace": context.machine.workspace,
        "state_file": _state_file(context),
        "keys": {"id": keys.id.hex(), "cipher": keys.cipher.hex() if keys.cipher else None},
        "control_url": settings.DUMONT_BASE_URL,
        "token_file": TOKEN_FILE,
        "limit_bps": _bytes_per_second(context.instance.transfer_limit_mbit),
    }


def _bytes_per_second(mbit: int | None) -> int | None:
    return None if mbit is None else mbit * 1_000_000 // 8


def _state_file(context: Context) -> str:
    """A copy that proved bad is never built upon: its generation's state file is left behind."""
    return f"~/.dumont/workspace-{context.instance.state_generation}.state"


def _run(
    context: Context,
    job: str,
    spec: Mapping[str, Any],
    again: bool,
    check: Callable[[Mapping[str, Any]], Mapping[str, Any]],
) -> JobSeen:
    """Look at the job; start it where it never started, or where it is to go on. Both over one connection."""
    start = again or not context.operation.waits
    with context.box().connected() as shell:
        seen = jobs.start_job(shell, job, spec, again=again) if start else jobs.job_status(shell, job)
        if seen.state == "unknown":
            seen = jobs.start_job(shell, job, spec)
    result = check(seen.result) if seen.state == "done" and seen.result is not None else seen.result
    return JobSeen(
        state=seen.state,
        progress=_progress(seen),
        result=result,
        error_code=seen.error.code if seen.error else "",
        error=seen.error.message if seen.error else "",
    )


def _freeze_result(result: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        checked = msgspec.convert(dict(result), FreezeResult)
    except msgspec.ValidationError as error:
        raise BoxError(f"The freeze's result makes no sense: {error}") from None
    builtins: dict[str, Any] = msgspec.to_builtins(checked)
    return builtins


def _progress(seen: JobProgress) -> dict[str, Any]:
    return {
        "phase": seen.phase,
        "bytes_done": seen.bytes_done,
        "bytes_total": seen.bytes_total,
        "files_done": seen.files_done,
        "files_total": seen.files_total,
        "rate_bps": seen.rate_bps,
        "eta_seconds": seen.eta_seconds,
        "bytes_moved": seen.bytes_moved,
        "usable": seen.usable,
        "usable_eta_seconds": seen.usable_eta_seconds,
    }


def fence(context: Context) -> Reply:
    """Pause the writers, then compare the workspace with what was frozen, then look at the GPU a last time."""
    with context.box().connected() as shell:
        report = fence_box(shell, context.machine.workspace, _state_file(context))
    activity = idle.judge(report.utilizations, context.instance.policy).activity
    busy = None if activity is Activity.UNKNOWN else activity is Activity.BUSY
    return FenceSeen(report.changed, busy, report.sample)


def release(context: Context) -> Reply:
    """Stop a freeze that still runs and let the paused writers go on; ``JobSeen`` of one that was done already."""
    with context.box().connected() as shell:
        resume_writers(shell)
        if context.operation.snapshot is None:
            return Ok()
        seen = jobs.stop_job(shell, context.snapshot.name)
    if seen.state != "done" or seen.result is None:
        return Ok()
    return JobSeen(seen.state, result=_freeze_result(seen.result))
