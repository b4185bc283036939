"""Rentals of others that come into our care: every way in, every way it ends, and what is never done to them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import IntegrityError

from hibernation.domain.errors import Conflict, DumontError, InvalidRequest, NotFound, ProviderUnavailable
from hibernation.domain.states import InstanceStatus, MachineState, OperationState
from hibernation.models import Enrolment, Event, Instance, Machine, Operation, Team, UsageInterval
from hibernation.providers.base import Phase
from hibernation.services import adopt
from hibernation.services.adopt import (
    LabelTaken,
    NotRunning,
    UnderCare,
    claim_enrolment,
    issue_enrolment,
    request_adoption,
)
from hibernation.services.heartbeats import Forbidden
from hibernation.services.instances import release_instance
from hibernation.services.orders import environment_of
from hibernation.services.reconcile import reconcile
from hibernation.services.requests import request_hibernate, request_wake
from hibernation.services.teams import default_team
from tests.factories import PROVIDER, make_instance
from tests.hibernation.services.world import World, assert_consistent, events

pytestmark = pytest.mark.django_db
CONTRACT = "12345"
ANA = "user:ana"


@pytest.fixture
def rental(world: World) -> World:
    """Somebody's own machine, with his label."""
    world.provider.rent("my own", contract=CONTRACT)
    world.provider.machines[CONTRACT] = replace(world.provider.machines[CONTRACT], image="img:1", disk_gb=40)
    return world


def ask(team: Team | None = None, **more: str) -> Operation:
    return request_adoption(PROVIDER, CONTRACT, actor=ANA, team=team or default_team(), **more)


def adopted(world: World) -> Instance:
    operation = world.run(ask())
    assert operation.state == OperationState.SUCCEEDED, operation.error
    return Instance.objects.get(pk=operation.instance_id)


def label_of(world: World) -> str:
    return world.provider.machines[CONTRACT].label


def test_a_rental_comes_into_our_care(rental: World) -> None:
    operation = ask(name="training")
    instance = operation.instance
    assert (instance.pk, instance.name, instance.status) == (f"fake_{CONTRACT}", "training", "provisioning")
    assert (instance.gpu_type, instance.image, instance.disk_gb, instance.region) == (
        "RTX 4090",
        "img:1",
        40,
        "PT",
    )
    operation = rental.run(operation)
    instance.refresh_from_db()
    machine = instance.machines.get()
    assert (operation.state, instance.status, machine.state) == ("succeeded", "running", "active")
    assert label_of(rental) == machine.label
    assert machine.label.startswith(settings.DUMONT_LABEL_PREFIX)
    assert UsageInterval.objects.get().started_at == machine.launched_at == machine.activated_at
    assert events(instance) == [
        "registered",
        "config_changed",
        "adoption_started",
        "machine_reached",
        "adopted",
    ]
    assert_consistent(instance)


def test_its_order_is_kept_for_the_machines_after_it(rental: World) -> None:
    env = {"A": "secret-value", "not a name": "x", "DUMONT_X": "y", "LONG": "x" * 300}
    mine = replace(rental.provider.machines[CONTRACT], env=env, ports=(8080,), onstart="echo hi")
    rental.provider.machines[CONTRACT] = mine
    instance = ask().instance
    instance.refresh_from_db()
    assert (environment_of(instance), instance.ports, instance.onstart) == (
        {"A": "secret-value"},
        [8080],
        "echo hi",
    )
    told = Event.objects.get(event_type="config_changed")
    assert told.data == {"env": ["A"], "ports": [8080], "left_out": ["DUMONT_X", "LONG", "not a name"]}


def test_a_start_script_that_is_too_long_is_told_and_left_out(rental: World) -> None:
    rental.provider.machines[CONTRACT] = replace(rental.provider.machines[CONTRACT], onstart="#" * 3001)
    assert ask().instance.onstart == ""
    assert Event.objects.get(event_type="config_changed").data["left_out"] == ["onstart"]


def test_the_label_is_the_last_thing_that_changes(rental: World) -> None:
    rental.run(ask(), until="label")
    assert label_of(rental) == "my own"
    assert rental.log == ["list", f"attach_key {CONTRACT}", "list", "install"]


def test_an_adopted_machine_hibernates_and_wakes_like_any_other(rental: World) -> None:
    instance = adopted(rental)
    (rental.box(instance).workspace / "notes.txt").write_text("mine")
    hibernation = rental.run(request_hibernate(instance.pk, actor=ANA, reason="test"))
    assert hibernation.state == OperationState.SUCCEEDED, hibernation.error
    assert CONTRACT not in rental.provider.machines
    wake = rental.run(request_wake(instance.pk, actor=ANA, reason="test"))
    assert wake.state == OperationState.SUCCEEDED, wake.error
    assert (rental.box(instance).workspace / "notes.txt").read_text() == "mine"
    assert_consistent(instance)


def test_a_failed_adoption_leaves_the_machine_and_its_label_alone(rental: World) -> None:
    operation = rental.run(ask(), until="install")
    rental.box(operation.instance).unreachable = True
    rental.pass_time(3600)
    operation = rental.run(operation)
    instance = operation.instance
    instance.refresh_from_db()
    assert (operation.state, instance.status) == ("failed", "released")
    assert label_of(rental) == "my own"
    for _ in range(3):
        reconcile()
        rental.pass_time(3600)
    assert CONTRACT in rental.provider.machines
    assert not rental.provider.calls("destroy")
    assert not UsageInterval.objects.exists()
    assert_consistent(instance)


def test_a_failed_adoption_can_be_tried_again(rental: World) -> None:
    operation = ask()
    Operation.objects.filter(pk=operation.pk).update(cancel_reason="cancelled")
    assert rental.run(operation).state == OperationState.CANCELLED
    instance = adopted(rental)
    assert sorted(instance.machines.values_list("state", flat=True)) == ["active", "released"]
    assert_consistent(instance)


def test_a_machine_that_vanishes_while_it_is_adopted_is_not_ours_when_it_comes_back(rental: World) -> None:
    operation = rental.run(ask(), until="confirm")
    rental.provider.hidden.add(CONTRACT)
    for _ in range(3):
        reconcile()
        rental.pass_time(61)
    rental.provider.hidden.clear()
    reconcile()
    assert Machine.objects.get().state == MachineState.ADOPTING
    rental.pass_time(3600)
    rental.box(operation.instance).reports = False
    assert rental.run(operation).state == OperationState.FAILED
    reconcile()
    assert not rental.provider.calls("destroy")


def test_what_the_account_does_not_have_is_not_found(rental: World) -> None:
    with pytest.raises(NotFound):
        request_adoption(PROVIDER, "777", actor=ANA, team=default_team())
    assert not Instance.objects.exists()


def test_a_provider_of_nobody_is_refused(rental: World) -> None:
    with pytest.raises(InvalidRequest):
        request_adoption("nobody", CONTRACT, actor=ANA, team=default_team())


def test_without_a_list_nothing_is_adopted(rental: World) -> None:
    rental.provider.list_error = ProviderUnavailable("away")
    with pytest.raises(ProviderUnavailable):
        ask()


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.RUNNING])
def test_a_machine_that_does_not_run_is_refused_with_its_phase(rental: World, phase: Phase) -> None:
    rental.provider.machines[CONTRACT] = replace(
        rental.provider.machines[CONTRACT], phase=phase, reason="why"
    )
    with pytest.raises(NotRunning, match=f"is {phase}: why"):
        ask()


@pytest.mark.parametrize("own", [True, False])
def test_a_label_of_an_installation_is_respected(rental: World, own: bool) -> None:
    label = f"{settings.DUMONT_LABEL_PREFIX if own else 'dumont-other-'}x"
    rental.provider.machines[CONTRACT] = replace(rental.provider.machines[CONTRACT], label=label)
    with pytest.raises(LabelTaken):
        ask()


@pytest.mark.parametrize("state", [MachineState.ACTIVE, MachineState.DESTROYING, MachineState.ORPHAN])
def test_a_machine_of_ours_is_not_adopted(world: World, state: MachineState) -> None:
    instance = world.awake()
    machine = instance.machines.get()
    Machine.objects.filter(pk=machine.pk).update(state=state)
    with pytest.raises(UnderCare, match=instance.pk):
        request_adoption(PROVIDER, machine.contract_id or "", actor=ANA, team=default_team())


def test_a_second_adoption_names_the_instance(rental: World) -> None:
    ask()
    with pytest.raises(UnderCare, match=f"fake_{CONTRACT}"):
        ask()


def test_the_same_key_answers_the_adoption_it_began(rental: World) -> None:
    first = ask(idempotency_key="k")
    rental.provider.list_error = ProviderUnavailable("away")
    assert ask(idempotency_key="k") == first


def test_of_two_at_once_one_is_let_through(rental: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def collide(*_: object, **__: object) -> Operation:
        raise IntegrityError

    monkeypatch.setattr(adopt, "_adopt", collide)
    with pytest.raises(UnderCare):
        ask()


def test_an_instance_of_that_name_is_not_taken_over(rental: World) -> None:
    instance = rental.awake(id=f"fake_{CONTRACT}")
    Machine.objects.update(contract_id="1")
    with pytest.raises(UnderCare, match="running"):
        ask()
    assert instance.machines.count() == 1


@pytest.mark.parametrize("order", [request_wake, request_hibernate])
def test_nothing_else_is_done_to_it_meanwhile(rental: World, order: object) -> None:
    operation = ask()
    with pytest.raises(Conflict):
        order(operation.instance_id, actor=ANA, reason="test")  # type: ignore[operator]
    with pytest.raises(Conflict):
        release_instance(operation.instance_id, actor=ANA)
    operation.refresh_from_db()
    assert operation.cancel_reason == ""


def test_a_released_machine_is_left_alone_and_its_agent_told_to_end(rental: World) -> None:
    instance = adopted(rental)
    with pytest.raises(Conflict, match="leave_machine"):
        release_instance(instance.pk, actor=ANA)
    release_instance(instance.pk, actor=ANA, leave_machine=True)
    assert rental.beat(instance, 0.0).action == "stop"
    for _ in range(3):
        reconcile()
        rental.pass_time(3600)
    assert not rental.provider.calls("destroy")
    assert UsageInterval.objects.get().ended_at is not None
    assert_consistent(instance)


def test_a_machine_that_comes_back_after_its_release_is_left_alone(rental: World) -> None:
    instance = adopted(rental)
    rental.provider.hidden.add(CONTRACT)
    for _ in range(3):
        reconcile()
        rental.pass_time(61)
    assert Machine.objects.get().state == MachineState.LOST
    release_instance(instance.pk, actor=ANA)
    rental.provider.hidden.clear()
    reconcile()
    assert Machine.objects.get().state == MachineState.RELEASED
    assert not rental.provider.calls("destroy")


def test_a_released_machine_can_be_adopted_again_under_the_same_name(rental: World) -> None:
    instance = adopted(rental)
    release_instance(instance.pk, actor=ANA, leave_machine=True)
    again = adopted(rental)
    assert again == instance
    assert UsageInterval.objects.count() == 2
    assert_consistent(again)


def claim(raw: str, contract: str = CONTRACT) -> Operation:
    return claim_enrolment(raw, contract)


def test_a_token_has_its_machine_adopted_once(rental: World) -> None:
    raw, enrolment = issue_enrolment(PROVIDER, actor=ANA, team=default_team())
    operation = claim(raw)
    enrolment.refresh_from_db()
    assert (enrolment.instance_id, operation.actor) == (operation.instance_id, ANA)
    assert raw not in str(Enrolment.objects.values().get())
    rental.provider.rent("another", contract="2")
    with pytest.raises(Forbidden):
        claim(raw, "2")


@pytest.mark.parametrize("raw", ["", "dme_", "dme_nobody", "dmt_x"])
def test_an_unknown_token_claims_nothing(rental: World, raw: str) -> None:
    with pytest.raises(Forbidden):
        claim(raw)
    assert not rental.log


def test_an_old_token_claims_nothing(rental: World) -> None:
    raw, _ = issue_enrolment(PROVIDER, actor=ANA, team=default_team())
    rental.pass_time(timedelta(hours=1).total_seconds() + 1)
    with pytest.raises(Forbidden):
        claim(raw)


@pytest.mark.parametrize("contract", ["777", CONTRACT])
def test_a_token_whose_adoption_cannot_begin_is_not_used_up(rental: World, contract: str) -> None:
    rental.provider.machines[CONTRACT] = replace(rental.provider.machines[CONTRACT], phase=Phase.LOADING)
    raw, enrolment = issue_enrolment(PROVIDER, actor=ANA, team=default_team())
    with pytest.raises(DumontError):
        claim(raw, contract)
    enrolment.refresh_from_db()
    assert enrolment.claimed_at is None
    assert not Event.objects.exists()


def test_of_two_claims_at_once_one_counts(rental: World, monkeypatch: pytest.MonkeyPatch) -> None:
    raw, enrolment = issue_enrolment(PROVIDER, actor=ANA, team=default_team())
    monkeypatch.setattr(adopt, "find_enrolment", lambda _: enrolment)
    claim(raw)
    rental.provider.rent("another", contract="2")
    with pytest.raises(Forbidden, match="just now"):
        claim(raw, "2")
    assert Instance.objects.count() == 1


def test_nobody_enrols_machines_of_a_provider_that_is_not_there(rental: World) -> None:
    with pytest.raises(InvalidRequest):
        issue_enrolment("nobody", actor=ANA, team=default_team())


def test_a_copy_of_before_the_release_can_be_woken(world: World) -> None:
    instance = world.asleep()
    release_instance(instance.pk, actor=ANA)
    instance.refresh_from_db()
    assert instance.status == InstanceStatus.RELEASED
    assert world.run(world.wake(instance)).state == OperationState.SUCCEEDED
    assert_consistent(instance)


@pytest.fixture
def other() -> Team:
    return Team.objects.create(name="other")


def test_what_is_taken_in_is_the_teams_that_asked(rental: World, other: Team) -> None:
    operation = ask(team=other)
    assert operation.instance.team == other


def test_an_enrolled_machine_is_the_teams_that_issued_the_token(rental: World, other: Team) -> None:
    raw, _ = issue_enrolment(PROVIDER, actor=ANA, team=other)
    assert claim(raw).instance.team == other


def test_what_another_team_has_is_to_the_others_as_if_it_were_not_rented(rental: World, other: Team) -> None:
    ask()
    with pytest.raises(NotFound) as theirs:
        ask(team=other)
    with pytest.raises(NotFound) as nobodys:
        request_adoption(PROVIDER, "777", actor=ANA, team=other)
    assert str(theirs.value).replace(CONTRACT, "777") == str(nobodys.value)


def test_what_another_team_let_go_with_its_work_on_it_is_not_taken_in(rental: World, other: Team) -> None:
    instance = adopted(rental)
    release_instance(instance.pk, actor=ANA, leave_machine=True)
    with pytest.raises(NotFound):
        ask(team=other)
    assert ask().instance == instance


def test_a_key_answers_no_other_teams_adoption(rental: World, other: Team) -> None:
    ask(idempotency_key="k")
    with pytest.raises(NotFound):
        ask(team=other, idempotency_key="k")


def test_an_instance_of_that_name_of_another_team_is_not_told_of(rental: World, other: Team) -> None:
    make_instance(id=f"{PROVIDER}_{CONTRACT}")
    with pytest.raises(NotFound):
        ask(team=other)
