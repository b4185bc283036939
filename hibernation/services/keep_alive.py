"""A person's word that an instance is in use, whatever its GPU does: neither idleness nor a schedule ends it then."""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction

from hibernation.domain.errors import Conflict
from hibernation.domain.states import EventType, InstanceStatus
from hibernation.models import Instance
from hibernation.services.clock import db_now
from hibernation.services.due import hibernate_due_at
from hibernation.services.requests import lock_instance
from hibernation.services.starting import AWAKE
from hibernation.services.transitions import emit

LONGEST = timedelta(days=1)
"""A word that is forgotten shall not bill for weeks. It can be given again."""
_COMES_UP = frozenset({InstanceStatus.PROVISIONING, InstanceStatus.WAKING})


@transaction.atomic
def keep_alive(instance_id: str, lasts: timedelta, *, actor: str) -> None:
    """From now for ``lasts``, at most ``LONGEST``, in place of what was said before. ``Conflict`` where nothing is up.

    A person's own order to hibernate, the end of the credit and of the rental go before it.
    """
    instance, now = lock_instance(instance_id), db_now()
    status = InstanceStatus(instance.status)
    if status is InstanceStatus.HIBERNATING:
        raise Conflict(f"{instance.pk} is being hibernated: a wake turns that back, if it still can be.")
    if status not in AWAKE | _COMES_UP:
        raise Conflict(f"{instance.pk} is {status}: there is no machine to keep.")
    instance.kept_alive_until = now + min(lasts, LONGEST)
    instance.hibernate_due_at = hibernate_due_at(instance)
    instance.save(update_fields=["kept_alive_until", "hibernate_due_at"])
    emit(EventType.KEEP_ALIVE, f"kept alive until {instance.kept_alive_until:%Y-%m-%d %H:%M} UTC",
         instance=instance, now=now, actor=actor)  # fmt: skip


@transaction.atomic
def end_keep_alive(instance_id: str, *, actor: str) -> None:
    """Idleness and schedules count again. Repeatable."""
    instance, now = lock_instance(instance_id), db_now()
    if not is_kept_alive(instance):
        return
    instance.kept_alive_until = None
    instance.hibernate_due_at = hibernate_due_at(instance)
    instance.save(update_fields=["kept_alive_until", "hibernate_due_at"])
    emit(EventType.KEEP_ALIVE, "kept alive no longer", instance=instance, now=now, actor=actor)


def is_kept_alive(instance: Instance) -> bool:
    return instance.kept_alive_until is not None and instance.kept_alive_until > db_now()
