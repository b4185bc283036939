"""The phase of a machine, one line for each situation that vast.ai's three states can be in."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hibernation.providers.base import Phase
from hibernation.providers.vast.phases import standing
from tests.hibernation.providers.vast.rows import instance_row


def row(actual: Any, current: Any, intended: Any, said: Any = "", **more: Any) -> dict[str, Any]:
    states = {"actual_status": actual, "cur_state": current, "intended_status": intended, "status_msg": said}
    return instance_row(**states, **more)


@pytest.mark.parametrize(
    ("given", "phase"),
    [
        (row(None, "running", "running"), Phase.LOADING),
        (row("created", "running", "running"), Phase.LOADING),
        (row("loading", "running", "running", "a1b2: Pulling fs layer"), Phase.LOADING),
        (row("running", "running", "running", "success, running img"), Phase.RUNNING),
        (row("running", "running", "running", "unauthorized: an old word"), Phase.RUNNING),
        (row("running", "running", "stopped"), Phase.STOPPING),
        (row("running", "running", None), Phase.OFFLINE),
        (row("exited", "stopped", "stopped"), Phase.STOPPED),
        (row("stopped", "stopped", "stopped"), Phase.STOPPED),
        (row("exited", "stopped", "running"), Phase.STOPPED),
        (row("exited", "running", "running"), Phase.LOADING),
        (row("loading", "stopped", "running"), Phase.LOADING),
        (row("loading", "stopped", "stopped", "Error response from daemon: OCI"), Phase.FAILED),
        (row("created", "stopped", "stopped", "CDI device injection failed"), Phase.FAILED),
        (row("loading", "running", "running", "write: No space left on device"), Phase.FAILED),
        (row("exited", "running", "running", "OCI runtime create failed"), Phase.FAILED),
        (row("unknown", "running", "running"), Phase.OFFLINE),
        (row("offline", "running", "running", "unexpected EOF"), Phase.OFFLINE),
        (row("frozen", "running", "running"), Phase.FAILED),
        (row("rebooting", "running", "running"), Phase.LOADING),
        (row("recycling", "stopped", "running", "pulling"), Phase.LOADING),
        (row("running", "unloaded", "stopped"), Phase.STOPPING),
        (row("levitating", "running", "running"), Phase.OFFLINE),
    ],
)
def test_each_situation_has_its_phase(given: dict[str, Any], phase: Phase) -> None:
    assert standing(given).phase is phase


@pytest.mark.parametrize(
    "said",
    ["manifest unknown", "Error response from daemon: pull access denied for x", "unauthorized: log in"],
)
def test_an_image_that_nobody_can_pull_is_our_fault(said: str) -> None:
    assert standing(row("loading", "running", "running", said)).is_our_fault


@pytest.mark.parametrize("said", ["failed to pull image", "unexpected EOF", "no space left on device"])
def test_what_a_host_breaks_is_not_our_fault(said: str) -> None:
    found = standing(row("loading", "running", "running", said))
    assert (found.phase, found.is_our_fault, found.reason) == (Phase.FAILED, False, said)


def test_the_reason_tells_a_lost_start_a_queued_one_and_an_outbid_one_apart() -> None:
    assert "start it again" in standing(row("loading", "stopped", "running")).reason
    assert "queued" in standing(row("exited", "stopped", "running")).reason
    assert standing(row("exited", "stopped", "stopped", is_bid=True)).reason == "outbid"


_ODD = st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.lists(st.text(max_size=3))


@given(actual=_ODD, current=_ODD, intended=_ODD, said=_ODD)
def test_every_row_has_a_phase_and_only_the_right_words_are_running(
    actual: Any, current: Any, intended: Any, said: Any
) -> None:
    assert standing(row(actual, current, intended, said)).phase is not Phase.RUNNING
