"""Effects that try a machine before a workspace goes there, and the hook that people run when it is back."""

from __future__ import annotations

from datetime import timedelta

from hibernation.box import trial
from hibernation.box.trial import Download
from hibernation.domain.effects import Reply
from hibernation.services.steps.context import Context
from hibernation.snapshots.registry import get_store

MEASURE_SECONDS = 5.0
MEASURED_PACKS = 4
HOOK_SECONDS = 120.0
_URL_LASTS = timedelta(minutes=5)


def try_machine(context: Context, *, measures: bool) -> Reply:
    downloads = _downloads(context) if measures else []
    return trial.try_machine(context.box(), downloads, MEASURE_SECONDS)


def run_hook(context: Context) -> Reply:
    line, workspace = context.instance.post_wake_hook, context.machine.workspace
    return trial.run_hook(context.box(), line, workspace, HOOK_SECONDS)


def _downloads(context: Context) -> list[Download]:
    """The biggest packs of what is to be restored: it comes from the same store, over the same way.

    None where there is too little to tell anything, or a limit of ours would be all that is measured.
    """
    snapshot = context.operation.snapshot
    if snapshot is None or context.instance.transfer_limit_mbit is not None:
        return []
    packs = list(snapshot.packs.filter(kind="pack").order_by("-size", "pk")[:MEASURED_PACKS])
    if sum(pack.size for pack in packs) < trial.MEASURED_BYTES:
        return []
    store = get_store()
    signed = [(store.sign_get(pack.key, expires_in=_URL_LASTS), pack.size) for pack in packs]
    return [Download(request.url, request.headers, size) for request, size in signed]
