"""Keeps the lease of a step alive while its effect runs, so that leases can be short and a dead worker is noticed."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from datetime import timedelta
from functools import partial

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.models.functions import Now

from hibernation.models import Operation

log = logging.getLogger(__name__)

LONGEST = timedelta(seconds=290)
"""No effect may take longer; after this the lease is left to run out."""


@contextmanager
def renewing(operation_id: int, token: uuid.UUID) -> Iterator[bool]:
    """Renew the lease at once and then every third of its length until the block ends, at most for ``LONGEST``.

    Yields whether it was still held: a worker that stalled after its claim must not act on it any more.
    """
    if not _renew_once(operation_id, token):
        yield False
        return
    done = threading.Event()
    # Its lines are about what this thread's are about.
    renew = partial(copy_context().run, _renew, operation_id, token, done)
    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield True
    finally:
        done.set()
        thread.join(timeout=5)


def _renew(operation_id: int, token: uuid.UUID, done: threading.Event) -> None:
    pause = settings.DUMONT_LEASE.total_seconds() / 3
    try:
        for _ in range(int(LONGEST.total_seconds() / pause)):
            if done.wait(pause):
                return
            if not _try_renew(operation_id, token):
                return
    finally:
        connection.close()


def _renew_once(operation_id: int, token: uuid.UUID) -> bool:
    """A lease that ran out is not revived: another may be about to take the step."""
    held = Operation.objects.filter(pk=operation_id, lease_token=token, lease_until__gt=Now())
    return bool(held.update(lease_until=Now() + settings.DUMONT_LEASE))


def _try_renew(operation_id: int, token: uuid.UUID) -> bool:
    try:
        return _renew_once(operation_id, token)
    except DatabaseError as error:
        log.warning("operation %s: the lease could not be renewed: %s", operation_id, error)
        connection.close()
        return True
