"""Machines are told when to stop themselves, and what they did while we were away becomes an event, once."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.conf import LazySettings

from agents.protocol import GuardFact, GuardOutcome
from hibernation.models import Event
from tests.hibernation.services.world import World

pytestmark = pytest.mark.django_db

FACT = GuardFact(
    "f1", GuardOutcome.STOPPED, "2026-01-01T00:00:00Z", 21600, "6 h 0 min without contact: idle all along"
)


def told(kind: str) -> list[Event]:
    return list(Event.objects.filter(event_type=kind))


def test_each_answer_says_when_to_stop_and_which_rental_this_is(world: World) -> None:
    instance = world.awake()
    guard = world.beat(instance, 1.0).guard
    machine = instance.machines.get()
    assert guard is not None
    assert (guard.after_seconds, guard.gpu_usage_threshold) == (6 * 3600, instance.policy.gpu_usage_threshold)
    assert (guard.provider, guard.contract_id) == (machine.provider, machine.contract_id)


def test_an_instance_that_may_not_hibernate_by_itself_may_not_stop_either(world: World) -> None:
    instance = world.awake()
    instance.auto_hibernation_enabled = False
    instance.save(update_fields=["auto_hibernation_enabled"])
    guard = world.beat(instance, 1.0).guard
    assert guard is not None
    assert guard.after_seconds == 0


@pytest.mark.parametrize(
    ("after", "interval", "seconds"),
    [(timedelta(), 30, 0), (timedelta(hours=1), 3600, 4 * 3600), (timedelta(hours=1), 30, 3600)],
)
def test_a_silence_is_longer_than_the_pause_between_heartbeats(
    world: World, settings: LazySettings, after: timedelta, interval: int, seconds: int
) -> None:
    settings.DUMONT_GUARD_AFTER = after
    instance = world.awake()
    instance.heartbeat_interval = timedelta(seconds=interval)
    instance.save(update_fields=["heartbeat_interval"])
    guard = world.beat(instance, 1.0).guard
    assert guard is not None
    assert guard.after_seconds == seconds


@pytest.mark.parametrize(
    ("outcome", "kind"), [(GuardOutcome.STOPPED, "guard_stopped"), (GuardOutcome.UNABLE, "guard_unable")]
)
def test_what_the_guard_did_is_an_event_of_the_agent(world: World, outcome: GuardOutcome, kind: str) -> None:
    instance = world.awake()
    fact = GuardFact("f1", outcome, FACT.at, FACT.silent_seconds, FACT.reason)
    assert world.beat(instance, 1.0, guard=fact).guard_noted == "f1"
    [event] = told(kind)
    assert (event.instance, event.actor, event.reason) == (instance, "agent", FACT.reason)
    assert event.data == {"fact": "f1", "at": FACT.at, "silent_seconds": 21600}


def test_a_fact_that_is_told_again_is_noted_again_and_is_one_event(world: World) -> None:
    instance = world.awake()
    for _ in range(3):
        assert world.beat(instance, 1.0, guard=FACT).guard_noted == "f1"
    assert len(told("guard_stopped")) == 1


def test_spooled_readings_of_the_silence_note_nothing(world: World) -> None:
    instance = world.awake()
    answer = world.beat(instance, 1.0, guard=FACT, spooled=True)
    assert (answer.guard, answer.guard_noted, told("guard_stopped")) == (None, "", [])
