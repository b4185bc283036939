"""One list of a provider for many wakes: whoever finds none that is fresh takes it, everybody reads it from Redis.

A list costs seconds of a rate limit that all share. Redis may lose one at any time; then it is taken again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import msgspec
from django.conf import settings
from redis import Redis
from redis.exceptions import RedisError

from hibernation.domain.errors import ProviderUnavailable
from hibernation.providers.accounts import redis_from_url
from hibernation.providers.base import Provider, RentedMachine

_USABLE_MS = 30_000
"""How old a list may be while another worker takes a fresh one."""
_TAKING_MS = 20_000


def find_machine(provider: Provider, contract_id: str) -> RentedMachine | None:
    """The machine by a list that may be half a minute old: one that is missing may just have been rented.

    Raises ``ProviderError``.
    """
    if not (settings.DUMONT_LIST_SHARED and provider.lists_cost):
        return _among(provider.list_machines(), contract_id)
    try:
        shared = _shared(provider.name, contract_id)
        if shared is None:
            return _among(_take(provider), contract_id)
        return shared[0]
    except RedisError:
        return _among(provider.list_machines(), contract_id)


def _shared(name: str, contract_id: str) -> tuple[RentedMachine | None] | None:
    """What the list says, or ``None`` where it is ours to take a fresh one."""
    redis, key = _redis(), _key(name)
    with redis.pipeline() as pipe:
        pipe.exists(f"{key}:fresh")
        pipe.exists(key)
        pipe.hget(key, contract_id)
        fresh, kept, row = pipe.execute()
    if not fresh and redis.set(f"{key}:taking", 1, nx=True, px=_TAKING_MS):
        return None
    if not kept:
        raise ProviderUnavailable("The machines are being listed at this moment.")
    return (None if row is None else msgspec.json.decode(row, type=RentedMachine),)


def _take(provider: Provider) -> Sequence[RentedMachine]:
    key = _key(provider.name)
    try:
        machines = provider.list_machines()
        rows: dict[str | bytes, bytes] = {"": b""}
        rows |= {machine.contract_id: msgspec.json.encode(_plain(machine)) for machine in machines}
        with _redis().pipeline() as pipe:
            pipe.delete(key)
            pipe.hset(key, mapping=rows)  # type: ignore[arg-type]
            pipe.pexpire(key, _USABLE_MS)
            pipe.set(f"{key}:fresh", 1, px=max(1, int(settings.DUMONT_LIST_SHARED.total_seconds() * 1000)))
            pipe.execute()
        return machines
    finally:
        _redis().delete(f"{key}:taking")


def _plain(machine: RentedMachine) -> RentedMachine:
    """Without what may hold secrets of the order."""
    return replace(machine, raw={}, env={}, onstart="")


def _among(machines: Sequence[RentedMachine], contract_id: str) -> RentedMachine | None:
    return next((machine for machine in machines if machine.contract_id == contract_id), None)


def _key(name: str) -> str:
    return f"dumont:{settings.DUMONT_INSTALLATION}:machines:{name}"


@lru_cache(maxsize=1)
def _redis() -> Redis:
    return redis_from_url(settings.DUMONT_BROKER_URL)
