"""The workspaces' data keys: made, wrapped by the installation's key, unwrapped for one job, wrapped anew.

``DUMONT_ENCRYPTION_KEYS`` names the wrapping keys: the first wraps, all unwrap. Packs never change when it does.
"""

from __future__ import annotations

import hashlib
import secrets

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings
from django.db import transaction
from django.db.models import Count

from hibernation.domain.errors import DumontError
from hibernation.models import Instance, WorkspaceKey
from hibernation.services.clock import db_now
from hibernation.snapshots.manifest import Keys

_NONCE = 12
_FOR_IDS = "dumont 2026-11 chunk ids"
_FOR_SEALING = "dumont 2026-11 sealing of chunks and manifests"


class KeyUnavailable(DumontError):
    """A workspace's data key cannot be unwrapped: its wrapping key is not among ``DUMONT_ENCRYPTION_KEYS``."""

    code = "key_unavailable"


def current_key(instance: Instance) -> WorkspaceKey:
    """The key for the next snapshot; a new one if there is none that encrypts as the instance wants it."""
    newest = instance.keys.order_by("-id").first()
    if newest is not None and newest.encrypts == instance.encryption_enabled:
        return newest
    wrapping = settings.DUMONT_ENCRYPTION_KEYS[0]
    return WorkspaceKey.objects.create(
        instance=instance,
        encrypts=instance.encryption_enabled,
        wrapped=_wrap(secrets.token_bytes(32), wrapping, instance.pk),
        wrapped_by=fingerprint(wrapping),
        created_at=db_now(),
    )


def keys_of(key: WorkspaceKey) -> Keys:
    """What a job needs of a data key: one key for chunk ids and, where it encrypts, one for sealing."""
    data = _unwrap(key)
    sealing = blake3(data, derive_key_context=_FOR_SEALING).digest() if key.encrypts else None
    return Keys(blake3(data, derive_key_context=_FOR_IDS).digest(), sealing)


def rewrap_all() -> int:
    """Wrap every data key by the first wrapping key; how many were not. Repeatable; no pack is touched.

    ``KeyUnavailable`` names the first that cannot be unwrapped; those before it stay wrapped anew.
    """
    wrapping = settings.DUMONT_ENCRYPTION_KEYS[0]
    done = 0
    for pk in WorkspaceKey.objects.exclude(wrapped_by=fingerprint(wrapping)).values_list("pk", flat=True):
        with transaction.atomic():
            key = WorkspaceKey.objects.select_for_update().get(pk=pk)
            key.wrapped = _wrap(_unwrap(key), wrapping, key.instance_id)
            key.wrapped_by = fingerprint(wrapping)
            key.save(update_fields=["wrapped", "wrapped_by"])
        done += 1
    return done


def wrapping_keys_in_use() -> dict[str, int]:
    """How many data keys each wrapping key wraps, by its fingerprint."""
    counted = WorkspaceKey.objects.order_by("wrapped_by").values_list("wrapped_by")
    return dict(counted.annotate(Count("pk")))


def fingerprint(wrapping: bytes) -> str:
    """Names a wrapping key without telling anything about it."""
    return hashlib.sha256(b"dumont wrapping key" + wrapping).hexdigest()[:16]


def _wrap(data: bytes, wrapping: bytes, instance_id: str) -> bytes:
    nonce = secrets.token_bytes(_NONCE)
    return nonce + AESGCM(wrapping).encrypt(nonce, data, instance_id.encode())


def _unwrap(key: WorkspaceKey) -> bytes:
    wrapped = bytes(key.wrapped)
    for wrapping in settings.DUMONT_ENCRYPTION_KEYS:
        if fingerprint(wrapping) == key.wrapped_by:
            try:
                return AESGCM(wrapping).decrypt(wrapped[:_NONCE], wrapped[_NONCE:], key.instance_id.encode())
            except InvalidTag:
                raise KeyUnavailable(f"The data key of {key.instance_id} is damaged.") from None
    raise KeyUnavailable(
        f"The data key of {key.instance_id} was wrapped by the key {key.wrapped_by}, which is not among "
        "DUMONT_ENCRYPTION_KEYS. Add that key after the first one."
    )
