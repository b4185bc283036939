"""Celery's door to the services: thin, named, repeatable. Nothing is decided here."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from celery import shared_task
from celery.exceptions import Ignore
from celery.signals import task_postrun, task_prerun
from django.db import connection

from hibernation.logs.context import about
from hibernation.services import asked_proofs, collect, hosts, operations, reconcile, schedules, sweep


@task_prerun.connect
def begin(task_id: str, task: Any, args: Any, **_: Any) -> None:
    """Every line until the task ends says which it is, and of a step, of which operation."""
    operation = {"operation_id": args[0]} if task.name == step.name and args else {}
    task.request.told = ExitStack()
    task.request.told.enter_context(about(task_id=task_id, **operation))


@task_postrun.connect
def end(task: Any, **_: Any) -> None:
    task.request.told.close()


@shared_task(name="hibernation.step")
def step(operation_id: int, step_name: str) -> None:
    """One step of an operation. ``Ignore`` ends the chain here: a plain return would start its tail."""
    if not operations.run_step(operation_id, step_name):
        raise Ignore


@shared_task(name="hibernation.sweep")
def sweep_tick() -> None:
    _alone("sweep", sweep.sweep)


@shared_task(name="hibernation.reconcile")
def reconcile_tick() -> None:
    _alone("reconcile", reconcile.reconcile)
    # What beat missed: its tick may be lost, and this one comes by another way.
    _alone("run_schedules", schedules.run_due_schedules)


@shared_task(name="hibernation.run_schedules")
def run_schedules_tick() -> None:
    _alone("run_schedules", schedules.run_due_schedules)


@shared_task(name="hibernation.run_schedule")
def run_schedule_poke(instance_id: str) -> None:
    """From an entry of beat: «look at this one now»."""
    schedules.run_schedule(instance_id)


@shared_task(name="hibernation.drive_due")
def drive_due_tick() -> None:
    _alone("drive_due", reconcile.drive_due)


@shared_task(name="hibernation.collect")
def collect_tick() -> None:
    _alone("collect", collect.tick)
    _alone("forget_hosts", hosts.forget_old)
    _alone("sync_schedules", lambda: len(schedules.sync_schedules()))


@shared_task(name="hibernation.prove_asked")
def prove_asked_tick() -> None:
    _alone("prove_asked", asked_proofs.prove_asked)


def _alone(name: str, work: Callable[[], int]) -> None:
    """Run ``work`` unless another worker is at it: a tick that finds its twin running is not needed."""
    with _advisory_lock(name) as won:
        if won:
            work()


@contextmanager
def _advisory_lock(name: str) -> Iterator[bool]:
    key = zlib.crc32(f"dumont:{name}".encode())
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [key])
        won = bool(cursor.fetchone()[0])
    try:
        yield won
    finally:
        if won:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [key])
