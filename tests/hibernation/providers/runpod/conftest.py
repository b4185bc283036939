"""A fake Runpod whose clock a test moves, and a provider that rents there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import cast

import pytest

from hibernation.providers.limiter import Limiter
from hibernation.providers.runpod import RunpodProvider
from hibernation.providers.runpod.client import RunpodClient
from hibernation.providers.shelf import Shelf
from tests.fakes.runpod import ManualClock, RunpodFake
from tests.hibernation.providers.free_limiter import EmptyShelf, FreeLimiter


@pytest.fixture
def fake() -> Iterator[RunpodFake]:
    with RunpodFake(clock=ManualClock(1_800_000_000.0)) as fake:
        yield fake


@pytest.fixture
def limiter() -> FreeLimiter:
    return FreeLimiter()


@pytest.fixture
def client(fake: RunpodFake, limiter: FreeLimiter) -> Iterator[RunpodClient]:
    client = RunpodClient(f"{fake.url}/v2", fake.key, cast(Limiter, limiter), sleep=lambda _: None)
    with closing(client):
        yield client


@pytest.fixture
def provider(client: RunpodClient) -> RunpodProvider:
    return RunpodProvider(client, cast(Shelf, EmptyShelf()))
