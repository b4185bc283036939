"""The workspaces' data keys: made, wrapped by the installation's key, unwrapped for one job, wrapped anew.

``DUMONT_ENCRYPTION_KEYS`` names the wrapping keys: the first wraps, all unwrap. Packs never change when it does.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import Counter

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings
from django.db import transaction

from hibernation.domain.errors import DumontError
from hibernation.models import Instance, ProviderCredential, WorkspaceKey
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
    wrapped, wrapped_by = seal(secrets.token_bytes(32), _bound(instance.pk))
    return WorkspaceKey.objects.create(
        instance=instance,
        encrypts=instance.encryption_enabled,
        wrapped=wrapped,
        wrapped_by=wrapped_by,
        created_at=db_now(),
    )


def keys_of(key: WorkspaceKey) -> Keys:
    """What a job needs of a data key: one key for chunk ids and, where it encrypts, one for sealing."""
    data = _unwrap(key)
    sealing = blake3(data, derive_key_context=_FOR_SEALING).digest() if key.encrypts else None
    return Keys(blake3(data, derive_key_context=_FOR_IDS).digest(), sealing)


def rewrap_all() -> int:
    """Wrap data keys, environments and providers' keys by the first wrapping key; how many were not. Repeatable.

    No pack is touched.

    ``KeyUnavailable`` names the first that cannot be unwrapped; those before it stay wrapped anew.
    """
    newest = fingerprint(settings.DUMONT_ENCRYPTION_KEYS[0])
    keys = WorkspaceKey.objects.exclude(wrapped_by=newest)
    for pk in (key_ids := list(keys.values_list("pk", flat=True))):
        with transaction.atomic():
            key = WorkspaceKey.objects.select_for_update().get(pk=pk)
            key.wrapped, key.wrapped_by = seal(_unwrap(key), _bound(key.instance_id))
            key.save(update_fields=["wrapped", "wrapped_by"])
    environments = Instance.objects.exclude(env_sealed_by__in=["", newest])
    for name in (instance_ids := list(environments.values_list("pk", flat=True))):
        with transaction.atomic():
            row = Instance.objects.select_for_update(no_key=True).get(pk=name)
            seal_environment(row, unseal_environment(row))
            row.save(update_fields=["env_sealed", "env_sealed_by"])
    return len(key_ids) + len(instance_ids) + _rewrap_credentials(newest)


def _rewrap_credentials(newest: str) -> int:
    rows = ProviderCredential.objects.exclude(sealed_by=newest)
    for name in (names := list(rows.values_list("pk", flat=True))):
        with transaction.atomic():
            row = ProviderCredential.objects.select_for_update().get(pk=name)
            seal_credential(row, unseal_credential(row))
            row.save(update_fields=["sealed", "sealed_by"])
    return len(names)


def wrapping_keys_in_use() -> dict[str, int]:
    """How many data keys, environments and providers' keys each wrapping key wraps, by its fingerprint."""
    counted = Counter(WorkspaceKey.objects.values_list("wrapped_by", flat=True))
    counted.update(Instance.objects.exclude(env_sealed_by="").values_list("env_sealed_by", flat=True))
    counted.update(ProviderCredential.objects.values_list("sealed_by", flat=True))
    return dict(counted)


def seal_environment(instance: Instance, env: bytes) -> None:
    """Put it on the instance's row, which the caller saves; nothing stands for nothing."""
    sealed = seal(env, _environment_bound(instance.pk)) if env else (b"", "")
    instance.env_sealed, instance.env_sealed_by = sealed


def unseal_environment(instance: Instance) -> bytes:
    """What was put there; empty where nothing was. ``KeyUnavailable`` if the key that sealed it is gone."""
    if not instance.env_sealed_by:
        return b""
    return unseal(bytes(instance.env_sealed), instance.env_sealed_by, _environment_bound(instance.pk))


def seal_credential(row: ProviderCredential, key: str) -> None:
    """Put it on the row, which the caller saves."""
    row.sealed, row.sealed_by = seal(key.encode(), _credential_bound(row.provider))


def unseal_credential(row: ProviderCredential) -> str:
    """What was put there. ``KeyUnavailable`` if the key that sealed it is gone."""
    return unseal(bytes(row.sealed), row.sealed_by, _credential_bound(row.provider)).decode()


def fingerprint(wrapping: bytes) -> str:
    """Names a wrapping key without telling anything about it."""
    return hashlib.sha256(b"dumont wrapping key" + wrapping).hexdigest()[:16]


def seal(data: bytes, bound: bytes) -> tuple[bytes, str]:
    """``data`` under the first wrapping key, and that key's fingerprint. Only the same ``bound`` opens it again."""
    wrapping = settings.DUMONT_ENCRYPTION_KEYS[0]
    nonce = secrets.token_bytes(_NONCE)
    return nonce + AESGCM(wrapping).encrypt(nonce, data, bound), fingerprint(wrapping)


def unseal(sealed: bytes, sealed_by: str, bound: bytes) -> bytes:
    """What ``seal`` was given. ``KeyUnavailable`` without its key, or if it is not what was sealed."""
    for wrapping in settings.DUMONT_ENCRYPTION_KEYS:
        if fingerprint(wrapping) == sealed_by:
            try:
                return AESGCM(wrapping).decrypt(sealed[:_NONCE], sealed[_NONCE:], bound)
            except InvalidTag:
                raise KeyUnavailable(f"The {bound.decode()} is damaged.") from None
    raise KeyUnavailable(
        f"The {bound.decode()} was wrapped by the key {sealed_by}, which is not among "
        "DUMONT_ENCRYPTION_KEYS. Add that key after the first one."
    )


def _unwrap(key: WorkspaceKey) -> bytes:
    return unseal(bytes(key.wrapped), key.wrapped_by, _bound(key.instance_id))


def _bound(instance_id: str) -> bytes:
    return f"data key of {instance_id}".encode()


def _environment_bound(instance_id: str) -> bytes:
    return f"environment of {instance_id}".encode()


def _credential_bound(provider: str) -> bytes:
    return f"key of {provider}".encode()
