"""Which step, and who may take and keep it."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from hibernation.domain import lifecycle
from hibernation.domain.states import OperationKind
from tests.hibernation.domain.factories import NOON, ago, hibernating, waking

SOON = NOON + timedelta(seconds=1)


@pytest.mark.parametrize("kind", OperationKind)
def test_every_step_of_a_chain_exists(kind: OperationKind) -> None:
    assert set(lifecycle.CHAINS[kind]) <= set(lifecycle.STEPS[kind])


def test_a_step_is_found_by_kind_and_name() -> None:
    assert lifecycle.step_of(hibernating("confirm")).queue == "provision"
    assert lifecycle.step_of(waking("confirm")).queue == "control"


def test_the_rest_of_a_chain_starts_with_the_step() -> None:
    assert lifecycle.remaining_steps(OperationKind.WAKE, "thaw") == ("thaw", "confirm", "hook")
    assert lifecycle.remaining_steps(OperationKind.HIBERNATE, "release") == ("release",)


@pytest.mark.parametrize(
    ("due_at", "lease_until", "free"),
    [
        (NOON, None, True),
        (SOON, None, False),
        (NOON, SOON, False),
        (NOON, NOON, True),
        (NOON, ago(seconds=1), True),
    ],
)
def test_a_step_is_taken_when_due_and_free(
    due_at: datetime, lease_until: datetime | None, free: bool
) -> None:
    assert lifecycle.claimable(due_at=due_at, lease_until=lease_until, now=NOON) is free


@pytest.mark.parametrize(("lease_until", "holds"), [(SOON, True), (NOON, False), (None, False)])
def test_a_claim_holds_until_its_lease_runs_out(lease_until: datetime | None, holds: bool) -> None:
    assert lifecycle.holds(lease_until=lease_until, now=NOON) is holds
