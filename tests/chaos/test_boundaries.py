"""SIGKILL and message loss at every step boundary of every operation: the work goes on and nothing is lost."""

from __future__ import annotations

import pytest

from hibernation.domain.states import OperationKind
from tests.chaos.arena import EVERYTHING, Arena
from tests.chaos.conftest import MakeSubjects
from tests.chaos.places import PLACES, WHERE, Place
from tests.chaos.subject import Subject

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

every_place = pytest.mark.parametrize("place", PLACES, ids=str)
_SOFT = ("beat", "web", "broker")
_BY_ID = {str(place): place for place in PLACES}


@pytest.fixture(scope="module")
def subjects(make_subjects: MakeSubjects) -> dict[str, Subject]:
    victims = ("worker", *_SOFT, "everything")
    return dict(zip(victims, make_subjects(*(f"kill_{victim}" for victim in victims)), strict=True))


@every_place
def test_the_worker_is_killed_at(place: Place, arena: Arena, subjects: dict[str, Subject]) -> None:
    subject = subjects["worker"]
    operation = subject.bring_to(place)
    arena.kill(place.queue)
    subject.release(place)
    subject.went_on(operation, place)


@every_place
def test_beat_or_web_is_killed_or_the_broker_flushed_at(
    place: Place, arena: Arena, subjects: dict[str, Subject]
) -> None:
    """Three instances stand there, each for one of the losses, which follow each other."""
    operations = {victim: subjects[victim].bring_to(place) for victim in _SOFT}
    for victim in _SOFT:
        if victim == "broker":
            arena.flush()
        else:
            arena.kill(victim)
        subjects[victim].release(place)
    for victim in _SOFT:
        subjects[victim].went_on(operations[victim], place)


@pytest.mark.parametrize(
    "name",
    [
        "hibernate-freeze-claimed",
        "hibernate-destroy-performed",
        "wake-launch-performed",
        "wake-thaw-claimed",
        "snapshot-freeze-performed",
    ],
)
def test_everything_is_killed_at(name: str, arena: Arena, subjects: dict[str, Subject]) -> None:
    place, subject = _BY_ID[name], subjects["everything"]
    operation = subject.bring_to(place)
    arena.kill(*EVERYTHING)
    subject.release(place)
    subject.went_on(operation, place)


@pytest.mark.parametrize("name", ["hibernate-destroy-claimed", "wake-launch-performed"])
def test_the_database_is_killed_at(name: str, arena: Arena, subjects: dict[str, Subject]) -> None:
    place, subject = _BY_ID[name], subjects["everything"]
    operation = subject.bring_to(place)
    arena.kill("postgres")
    subject.release(place)
    subject.went_on(operation, place)


def test_a_stack_stopped_in_the_middle_goes_on_when_it_starts_again(
    arena: Arena, subjects: dict[str, Subject]
) -> None:
    place, subject = _BY_ID["hibernate-verify-performed"], subjects["everything"]
    operation = subject.bring_to(place)
    arena.stack.stop()
    subject.release(place)
    arena.stack.start()
    arena.stack.wait_ready()
    subject.went_on(operation, place)


@pytest.mark.parametrize("where", WHERE)
def test_the_worker_is_killed_on_the_way_back_at(
    where: str, arena: Arena, subjects: dict[str, Subject]
) -> None:
    """A wake that is ordered during the snapshot stops the hibernation: the machine is kept."""
    subject = subjects["worker"]
    subject.finish()
    contract = subject.contract
    saving, back = (Place(OperationKind.HIBERNATE, *at) for at in (("freeze", "claimed"), ("release", where)))
    subject.arm(saving, back)
    subject.order(OperationKind.HIBERNATE)
    subject.wait_at(saving)
    subject.order(OperationKind.WAKE)
    subject.release(saving)
    subject.wait_at(back)
    arena.kill(back.queue)
    subject.release(back)
    assert subject.wait_until_ended()["state"] == "succeeded"
    assert subject.contract == contract
    subject.check()


def test_every_workspace_is_whole_after_all_that(subjects: dict[str, Subject]) -> None:
    for subject in subjects.values():
        subject.finish()
