"""Money: a launch in doubt is never made twice, and two wakes at once rent one machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from hibernation.domain.states import OperationKind
from hibernation.providers.local import set_faults
from hibernation.providers.local.faults import COUNTED
from tests.chaos.arena import Arena, Row
from tests.chaos.conftest import MakeSubjects
from tests.chaos.subject import Subject

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

_WAKES = 8


@pytest.fixture(scope="module")
def subject(make_subjects: MakeSubjects) -> Subject:
    [subject] = make_subjects("launched")
    return subject


@pytest.fixture
def hibernated(subject: Subject, arena: Arena) -> Iterator[Subject]:
    subject.order(OperationKind.HIBERNATE)
    assert subject.wait_until_ended()["state"] == "succeeded"
    yield subject
    set_faults(arena.state, **dict.fromkeys(COUNTED, 0))
    subject.finish()


def launches(arena: Arena, subject: Subject) -> int:
    labels = {
        row["label"]
        for row in arena.rows("SELECT label FROM hibernation_machine WHERE instance_id = %s", subject.name)
    }
    return sum(line["event"] == "launched" and line["label"] in labels for line in arena.ledger())


@pytest.mark.parametrize("fault", ["launch_answer_lost", "launch_error"])
def test_a_machine_whose_launch_was_not_answered_is_found_by_its_label(
    fault: str, hibernated: Subject, arena: Arena
) -> None:
    before = launches(arena, hibernated)
    set_faults(arena.state, **{fault: 1})
    hibernated.order(OperationKind.WAKE)
    assert hibernated.wait_until_ended()["state"] == "succeeded"
    assert launches(arena, hibernated) == before + 1
    hibernated.check()


def test_an_unanswered_launch_is_not_repeated_while_the_list_fails(hibernated: Subject, arena: Arena) -> None:
    before = launches(arena, hibernated)
    set_faults(arena.state, launch_answer_lost=1, list_fails=6)
    hibernated.order(OperationKind.WAKE)
    assert hibernated.wait_until_ended()["state"] == "succeeded"
    assert launches(arena, hibernated) == before + 1
    hibernated.check()


def test_a_machine_that_never_answers_is_sent_away_and_the_next_one_used(
    hibernated: Subject, arena: Arena
) -> None:
    set_faults(arena.state, never_reachable=1)
    hibernated.order(OperationKind.WAKE)
    assert hibernated.wait_until_ended()["state"] == "succeeded"
    assert "machine_rejected" in hibernated.events()
    hibernated.check()


def test_wakes_at_the_same_moment_rent_one_machine(hibernated: Subject, arena: Arena) -> None:
    before, answers, together = launches(arena, hibernated), [], threading.Barrier(_WAKES)

    def wake() -> None:
        together.wait()
        answers.append(hibernated.order(OperationKind.WAKE))

    _in_threads(wake)
    assert len({answer["id"] for answer in answers}) == 1
    assert len(answers) == _WAKES
    assert hibernated.wait_until_ended()["state"] == "succeeded"
    assert launches(arena, hibernated) == before + 1
    hibernated.check()


def test_a_refused_destroy_is_repeated_until_the_machine_is_gone(subject: Subject, arena: Arena) -> None:
    set_faults(arena.state, destroy_refused=1)
    contract = subject.contract
    subject.order(OperationKind.HIBERNATE)
    operation: Row = subject.wait_until_ended()
    assert operation["state"] == "succeeded"
    calls = [line for line in arena.ledger() if line["contract"] == contract]
    assert [line["event"] for line in calls] == ["launched", "destroy_called", "destroy_called", "destroyed"]
    assert contract not in arena.billing()


def _in_threads(work: object) -> None:
    threads = [threading.Thread(target=work) for _ in range(_WAKES)]  # type: ignore[arg-type]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
