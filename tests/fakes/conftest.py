"""A fake vast.ai whose clock a test moves, and a client for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.vast import ManualClock, VastFake
from tests.fakes.vast_caller import Caller


@pytest.fixture
def fake() -> Iterator[VastFake]:
    with VastFake(clock=ManualClock(1_800_000_000.0)) as fake:
        yield fake


@pytest.fixture
def caller(fake: VastFake) -> Iterator[Caller]:
    with Caller(fake) as caller:
        yield caller
