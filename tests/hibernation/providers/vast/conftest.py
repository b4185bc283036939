"""A scripted server and a client of it, whose calls need no permit."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hibernation.providers.vast.client import VastClient
from tests.hibernation.providers.free_limiter import FreeLimiter
from tests.hibernation.providers.vast.stub import Stub, client_of, serve


@pytest.fixture(scope="session")
def served() -> Iterator[Stub]:
    with serve() as stub:
        yield stub


@pytest.fixture
def stub(served: Stub) -> Stub:
    served.answers.clear()
    served.asked.clear()
    return served


@pytest.fixture
def limiter() -> FreeLimiter:
    return FreeLimiter()


@pytest.fixture
def client(stub: Stub, limiter: FreeLimiter) -> Iterator[VastClient]:
    with client_of(stub.url, limiter) as client:
        yield client
