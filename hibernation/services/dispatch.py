"""The only place that enqueues. By task name, after commit; a message that is lost costs one tick, never work."""

from __future__ import annotations

import logging

from celery import chain
from django.db import transaction
from kombu.exceptions import OperationalError

from celery_app import app
from hibernation.domain.lifecycle import STEPS, remaining_steps
from hibernation.domain.states import OperationKind

log = logging.getLogger(__name__)

STEP_TASK = "hibernation.step"


def enqueue_operation(operation_id: int, kind: OperationKind, step: str, *, delay: float = 0) -> None:
    """After commit, send the chain of the remaining steps, the first of them in ``delay`` seconds."""
    transaction.on_commit(lambda: _send(operation_id, kind, step, delay))


def _send(operation_id: int, kind: OperationKind, step: str, delay: float) -> None:
    signatures = [
        app.signature(STEP_TASK, args=[operation_id, name], immutable=True).set(queue=STEPS[kind][name].queue)
        for name in remaining_steps(kind, step)
    ]
    try:
        chain(*signatures).apply_async(countdown=max(0.0, delay))
    except (OperationalError, OSError) as error:
        log.warning("operation %s: the broker is away (%s); the next tick finds the row", operation_id, error)
