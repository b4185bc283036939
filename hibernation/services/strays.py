"""Stray objects: in the store below an instance's prefix, and in no row of ours. Only a person orders their end:
another installation on the same bucket, or a database from a back-up, would see good packs as strays.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from django.conf import settings

from hibernation.models import Instance, Pack
from hibernation.services.clock import db_now
from hibernation.snapshots.registry import get_store
from hibernation.snapshots.store import ObjectInfo, Store

_OURS = re.compile(r"[^/]+/(?:packs|manifests)/[0-9a-f]{32}\Z")
_BATCH = 500
MOST = 10_000
"""Objects one look returns: who has more of them looks again."""


def strays(instance_id: str | None = None) -> list[ObjectInfo]:
    """At most ``MOST`` objects with a name that only we give, older than the grace, that no row knows."""
    store = get_store()
    instances = Instance.objects.filter(**({} if instance_id is None else {"pk": instance_id}))
    names = list(instances.order_by("pk").values_list("pk", flat=True))
    return list(islice((found for name in names for found in _strays_of(store, name)), MOST))


def _strays_of(store: Store, name: str) -> Iterator[ObjectInfo]:
    """A row is committed before the URL to store its object is given away, so that an object never precedes its row."""
    oldest = db_now() - settings.DUMONT_GC_GRACE
    listed = (one for one in store.list(f"{name}/") if _OURS.match(one.key))
    old = (one for one in listed if one.stored_at is not None and one.stored_at < oldest)
    while page := list(islice(old, _BATCH)):
        known = set(Pack.objects.filter(key__in=[one.key for one in page]).values_list("key", flat=True))
        yield from (one for one in page if one.key not in known)


def delete_strays(instance_id: str | None = None) -> list[ObjectInfo]:
    """Delete what ``strays`` finds, each looked up once more right before; what was deleted. Repeatable."""
    store, gone = get_store(), []
    for one in strays(instance_id):
        if not Pack.objects.filter(key=one.key).exists():
            store.delete(one.key)
            gone.append(one)
    return gone
