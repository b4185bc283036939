"""Without a fault: what a life at the market costs and leaves behind."""

from __future__ import annotations

import pytest

from tests.hibernation.services.box import tree
from tests.market.harness import Market

pytestmark = [pytest.mark.django_db, pytest.mark.network]


def test_a_workspace_sleeps_for_nothing_and_wakes_with_the_same_bytes(market: Market) -> None:
    instance = market.asleep()
    assert market.billed() == ()
    first = instance.machines.get()
    operation = market.wake(instance)
    market.run_until_idle()
    report = market.report(operation)
    assert (report.state, report.status, len(report.billed)) == ("succeeded", "running", 1)
    assert tree(market.box(instance).workspace) == tree(market.box(first).workspace)
    assert 0 < report.usd < 0.1
